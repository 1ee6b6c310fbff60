"""docs/architecture.md is the code: its tree, its layers, the functions that it names."""

import ast
import re
from collections import defaultdict
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Set, Tuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / 'docs/architecture.md').read_text(encoding='utf-8')
# public names when they are first asked for; what has to start where torch is not installed
LAZY = ('mmmim', 'mmmim.cli', 'mmmim.doctor.probes')


def section(title: str) -> str:
    return re.search(rf'^## {title}\n(.*?)(?=^## |\Z)', PAGE, flags=re.M | re.S)[1]


def code_blocks(text: str) -> List[str]:
    return re.findall(r'^```\n(.*?)^```', text, flags=re.M | re.S)


# ------------------------------------------------------------------------------------------------------------ the tree


def listed() -> List[Tuple[str, str]]:
    """``('mmmim/models/patches.py', what it is)`` for each line of the tree, from its indentation."""
    folders: List[str] = []
    result = []
    for line in filter(str.strip, code_blocks(section('The tree'))[0].splitlines()):
        indent, name, text = re.match(r'( *)(\S+) *(.*)', line).groups()
        del folders[len(indent) // 2 :]
        result.append((''.join(folders) + name, text))
        if name.endswith('/'):
            folders.append(name)
    return result


def modules() -> Dict[str, Path]:
    """``{'mmmim.models.patches': path}`` of the package."""
    found = {}
    for path in sorted((ROOT / 'mmmim').rglob('*.py')):
        relative = path.relative_to(ROOT)
        found['.'.join(relative.with_suffix('').parts).removesuffix('.__init__')] = path
    return found


MODULES = modules()


def test_every_module_has_its_line():
    lines = [name for name, _ in listed()]
    assert sorted(set(lines)) == sorted(lines)
    assert {path.relative_to(ROOT).as_posix() for path in MODULES.values()} <= set(lines)


def test_every_line_names_something_that_exists_and_says_what_it_is():
    for name, text in listed():
        assert (ROOT / name).is_dir() if name.endswith('/') else (ROOT / name).is_file(), name
        assert text or name == 'mmmim/', name


# ---------------------------------------------------------------------------------------------------------- the layers


def layers() -> Tuple[Dict[str, int], Dict[str, Dict[str, int]]]:
    """The layer of each module or package right below mmmim, and the order inside of some packages."""
    packages, inside = code_blocks(section('Layers'))
    order = {name: layer for layer, line in enumerate(packages.splitlines()) for name in line.split()}
    inner = {}
    for line in inside.splitlines():
        package, groups = line.split(':')
        inner[package] = {name: place for place, group in enumerate(groups.split('<')) for name in group.split()}
    return order, inner


def imports(module: str) -> Iterator[Tuple[str, bool]]:
    """What a module imports of mmmim, and whether inside a function."""
    path = MODULES[module]

    def visit(node: ast.AST, inside: bool) -> Iterator[Tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.Import, ast.ImportFrom)):
                yield from ((name, inside) for name in _targets(module, path.name == '__init__.py', child))
            function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from visit(child, inside or function)

    yield from visit(ast.parse(path.read_text(encoding='utf-8')), False)


def _targets(module: str, is_package: bool, node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        base = node.module or ''
        if node.level:
            parents = module.split('.') if is_package else module.split('.')[:-1]
            base = '.'.join([*parents[: len(parents) - node.level + 1], *filter(None, [node.module])])
        names = [f'{base}.{alias.name}' if f'{base}.{alias.name}' in MODULES else base for alias in node.names]
    yield from (name for name in names if name.split('.')[0] == 'mmmim')


GRAPH = {module: list(imports(module)) for module in MODULES}


def find_circle(graph: Dict[str, Set[str]]) -> Optional[List[str]]:
    """Modules that import one another in a circle, by depth-first search; None without one."""
    state: Dict[str, int] = defaultdict(int)  # 1: on the way; 2: done
    way: List[str] = []

    def visit(module: str) -> Optional[List[str]]:
        state[module] = 1
        way.append(module)
        for other in sorted(graph.get(module, ())):
            if state[other] == 1:
                return [*way[way.index(other) :], other]
            if state[other] == 0 and (circle := visit(other)):
                return circle
        way.pop()
        state[module] = 2
        return None

    return next((circle for module in sorted(graph) if state[module] == 0 and (circle := visit(module))), None)


def test_a_circle_is_found():
    assert find_circle(dict(a={'b'}, b={'c'}, c={'b'})) == ['b', 'c', 'b']
    assert find_circle(dict(a={'b', 'c'}, b={'c'}, c=set())) is None


def test_imports_are_found_with_their_place():
    found = dict(imports('mmmim.models.algorithms.mae'))
    assert found['mmmim.models.algorithms.base'] is False and 'mmmim.registry' in found
    assert dict(imports('mmmim'))['mmmim.apis'] is True


def test_no_circle_of_imports():
    """Also with the imports inside functions: a circle that is only hidden is one."""
    assert find_circle({module: {name for name, _ in found} for module, found in GRAPH.items()}) is None


def test_every_module_is_in_a_layer():
    order, inner = layers()
    for module in MODULES:
        _, package, *rest = (*module.split('.'), None)
        assert package is None or package in order, f'{module}: the page does not say in which layer it is'
        if package in inner and rest[0] is not None:
            assert rest[0] in inner[package], f'{module}: the page does not say where in {package} it is'


def test_no_import_of_a_higher_layer():
    order, inner = layers()
    upward = []
    for module, found in GRAPH.items():
        own = module.split('.')[1:]
        for other, _ in found if own else ():  # the package itself is on top of all
            theirs = other.split('.')[1:]
            if not theirs or order[theirs[0]] > order[own[0]]:
                upward.append(f'{module} -> {other}')
            elif own[0] == theirs[0] and own[0] in inner and len(own) > 1 and len(theirs) > 1:
                places = inner[own[0]]
                if places[theirs[1]] > places[own[1]]:
                    upward.append(f'{module} -> {other}')
    assert not upward, '\n'.join(upward)


def test_no_import_of_mmmim_inside_a_function():
    graph = {module: found for module, found in GRAPH.items() if module not in LAZY}
    inside = [f'{module} -> {other}' for module, found in graph.items() for other, lazy in found if lazy]
    assert not inside, '\n'.join(inside)


# ------------------------------------------------------------------------------------------------------------ the ways

ROW = re.compile(r'^\| (\S+\.py) \| ((?:`[\w.]+`(?:, )?)+) \| .+ \|$', flags=re.M)
STEPS = [
    (file.replace('\\', ''), name) for file, names in ROW.findall(PAGE) for name in re.findall(r'`([\w.]+)`', names)
]


def defined(path: Path) -> Set[str]:
    """Functions and ``Class.method`` of a file."""
    names = set()
    for node in ast.parse(path.read_text(encoding='utf-8')).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f'{node.name}.{part.name}' for part in node.body if isinstance(part, ast.FunctionDef)}
    return names


@pytest.mark.parametrize('file, name', STEPS, ids=lambda value: str(value))
def test_the_ways_name_functions_that_exist(file, name):
    assert name in defined(ROOT / 'mmmim' / file)


def test_every_row_of_the_ways_is_checked():
    rows = [line for line in PAGE.splitlines() if re.match(r'\| \S+\.py \|', line)]
    assert len(rows) == len(ROW.findall(PAGE)) > 50
