"""Commands on the pages are ones that exist: the command or script, its options, the configs that it names."""

import re

import pytest
from harness import ROOT

from mmmim import cli

PAGES = sorted([ROOT / 'README.md', *(ROOT / 'docs').glob('*.md'), *(ROOT / 'docs/howto').glob('*.md')])
SHARED = ('mmmim/config/options.py', 'mmmim/commands/pretrain.py', 'tools/benchmarks/script.py')


def commands(text):
    """``(program, its words)`` of each call in blocks and in code inside of sentences, comments left out."""
    blocks = re.findall(r'^```\w*\n(.*?)^```|^((?:    .*\n)+)|`([^`\n]+)`', text, re.MULTILINE | re.DOTALL)
    for block in map(''.join, blocks):
        for line in re.split(r'\n|&&|;', block.replace('\\\n', ' ')):
            words = re.sub(r'(^|\s)#.*', '', line).split()
            words = words[1:] if words[:1] in (['python'], ['bash']) else words
            if words and (
                words[0] == 'mmmim' and words[1:] and words[1].islower() or re.match(r'tools/\S+\.(py|sh)$', words[0])
            ):
                yield (f'mmmim {words[1]}', words[2:]) if words[0] == 'mmmim' else (words[0], words[1:])


def sources(program):
    """The text in which a program's options stand."""
    if program.startswith('mmmim '):
        found = ROOT / 'mmmim/commands' / f'{program.split()[1]}.py'
        if program == 'mmmim doctor':
            found = ROOT / 'mmmim/doctor/examination.py'
        paths = [found, *(ROOT / path for path in SHARED)]
    else:
        calls = {'tools/dist_train.sh': 'train', 'tools/slurm_train.sh': 'train', 'tools/train.py': 'train'}
        calls['tools/test.py'] = calls['tools/dist_test.sh'] = 'test'
        paths = [ROOT / program, *(ROOT / path for path in SHARED)]
        if program in calls:
            paths.append(ROOT / 'mmmim/commands' / f'{calls[program]}.py')
        elif program == 'tools/quickstart.sh':
            paths.append(ROOT / 'tools/quickstart.py')
    return '\n'.join(path.read_text(encoding='utf-8') for path in paths if path.is_file())


def problems(program, words):
    kind, _, name = program.partition(' ')
    if kind == 'mmmim' and name not in (*cli.COMMANDS, 'doctor'):
        return [f'{program}: there is no such command']
    if kind != 'mmmim' and not (ROOT / program).is_file():
        return [f'{program}: there is no such script']
    known = sources(program) + ' --help'
    options = {re.match(r'--[a-z][\w-]*', word.lstrip('['))[0] for word in words if re.match(r'\[?--[a-z]', word)}
    wrong = [
        f'{program}: there is no {option}' for option in sorted(options) if not re.search(rf'{option}(?![\w-])', known)
    ]
    configs = re.findall(r'configs/[\w./-]+\.py', ' '.join(words))
    return wrong + [f'{program}: there is no {path}' for path in configs if not (ROOT / path).is_file()]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_exist(page):
    found = list(commands(page.read_text(encoding='utf-8')))
    assert [line for program, words in found for line in problems(program, words)] == []


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_python_on_the_page_is_python(page):
    for code in re.findall(r'^```python\n(.*?)^```', page.read_text(encoding='utf-8'), re.MULTILINE | re.DOTALL):
        compile(code, str(page), 'exec')


def test_calls_are_found_in_blocks_and_sentences():
    text = 'Try `mmmim doctor`.\n```bash\npython tools/train.py \\\n  configs/x.py --no  # mmmim not\n```\n'
    assert list(commands(text)) == [('mmmim doctor', []), ('tools/train.py', ['configs/x.py', '--no'])]
    assert problems('tools/train.py', ['configs/x.py', '--no', '[--work-dir']) == [
        'tools/train.py: there is no --no',
        'tools/train.py: there is no configs/x.py',
    ]
    assert problems('mmmim pretend', []) == ['mmmim pretend: there is no such command']
