"""The tables of the READMEs and the metafiles say what the configs do.

A config states an ablation once. Each row of a table that links one has the published number of that config's
docstring, and the value that it names is the config's.
"""

import functools
import re
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Set

import pytest
import yaml
from config_harness import CONFIGS, GONE, ROOT, changed, docstring, flat, plain, resolved

from mmmim.config.schedule import batches_per_step

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / 'configs').rglob('README.md'))
DEFAULTS = {  # of which a method's ablations are changes
    'mae': 'configs/mae/ablations/_default.py',
    'cmae': 'configs/cmae/vit-b_300e.py',
    'gan_mae': 'configs/gan_mae/vit-b_800e.py',
    'vision_electra': 'configs/vision_electra/vit-b_50e.py',
    'crossmae': 'configs/crossmae/vit-b_300e.py',
}
PUBLISHED = ('ft', 'lin', 'linear', 'quoted', 'mCE', '1%', '10%', 'mIoU, ADE20K', 'box AP, COCO', 'hours', 'speed-up')
LINK = re.compile(r'\]\(([^):#\s]+\.(?:py|md))\)')


class Row(NamedTuple):
    """A row of a table that links configs: its cells by their column's head, and where its table begins."""

    page: str
    table: int
    cells: Dict[str, str]
    configs: List[str]

    def numbers(self) -> List[str]:
        """What was published, as the row has it; sentences that it quotes aside."""
        cells = [re.sub('".*?"', '', value) for head, value in self.cells.items() if head in PUBLISHED]
        return [number for cell in cells for number in re.findall(r'\d+\.\d+', cell)]

    def case(self) -> str:
        """What the row is about, without remarks in parentheses."""
        cells = [value for head, value in self.cells.items() if head not in (*PUBLISHED, 'part', 'table', 'config')]
        return re.sub(r'\(.*?\)', '', ' | '.join(cells))

    def named(self) -> List[float]:
        """The values that the case names: 75% is 0.75; '2-layer', 'ViT-B/16' and '1.8× cost' name none."""
        found = re.findall(r'(?<![\w./-])(\d+(?:\.\d+)?)(%?)(?![\w.×-])', self.case())
        return [float(number) / (100 if percent else 1) for number, percent in found]


def linked(page: str, text: str) -> List[str]:
    return [((ROOT / page).parent / target).resolve().relative_to(ROOT).as_posix() for target in LINK.findall(text)]


def rows(page: str) -> Iterator[Row]:
    head: List[str] = []
    for place, line in enumerate((ROOT / page).read_text().splitlines()):
        cells = [cell.strip() for cell in line.strip('|').split(' | ')] if line.startswith('|') else []
        if not cells:
            head = []
        elif not head:
            head, table = [cell.strip() for cell in line.strip('|').split('|')], place
        elif found := [name for name in linked(page, line) if name.endswith('.py')]:
            yield Row(page, table, dict(zip(head, cells)), found)


ROWS = [row for page in PAGES for row in rows(page)]


@pytest.mark.parametrize('page', PAGES)
def test_links_lead_to_files_and_every_config_has_one(page):
    folder = Path(page).parent.as_posix()
    links = linked(page, (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / link).is_file()] == []
    own = {name for name in CONFIGS if name.startswith(f'{folder}/')}
    quickstart = f'configs/quickstart/{Path(folder).name}.py'
    assert own - set(links) == set() and (quickstart not in CONFIGS or folder == 'configs/mae' or quickstart in links)


@pytest.mark.parametrize('row', [row for row in ROWS if set(row.cells) & set(PUBLISHED)], ids=lambda row: row.case())
def test_a_row_has_the_published_numbers_of_its_config(row):
    texts = ' '.join(docstring(name) for name in row.configs)
    assert [n for n in row.numbers() if not re.search(rf'(?<![\d.]){re.escape(n)}(?!\d)', texts)] == []
    alone = [value for head, value in row.cells.items() if head in PUBLISHED]
    assert row.numbers() or re.search(r'not stated|no number|n/a|diverge|NaN|^-$|"', ' '.join(alone))


def method_of(row: Row) -> str:
    return Path(row.page).parent.name


def part_of(row: Row) -> tuple:
    """Rows of one table and part change the same keys."""
    return row.page, row.table, row.cells.get('part', row.cells.get('table'))


@functools.lru_cache(maxsize=None)
def varied(part: tuple) -> Set[str]:
    """The keys in which the configs of a part differ from the method's default."""
    found = [row for row in ROWS if part_of(row) == part]
    return {key for row in found for name in row.configs for key in changed(name, DEFAULTS[method_of(row)])}


ABLATIONS = [
    row
    for row in ROWS
    if method_of(row) in DEFAULTS and len(row.configs) == 1 and set(row.cells) & set(PUBLISHED)
    if 'reproduced by this code' not in row.cells
]
SAID_IN_OTHER_WORDS = (  # than those of the config, or said of what the config does not change
    'Contrastive learning',
    'without norm',
    'Pixel shifting',
    'Baseline',
    'mapping network',
    'CLIP',
    'with noise',
    'from scratch',
    'image  alone',
    'patch  alone',
)


@pytest.mark.parametrize('row', ABLATIONS, ids=lambda row: f'{method_of(row)}: {row.case()}')
def test_a_row_names_what_its_config_changes(row):
    """Values, among the keys that its part of the table changes; else a word of a key or a value that it changes."""
    own = flat(plain(row.configs[0]))
    if row.named():
        values = {key: own.get(key, GONE) for key in varied(part_of(row))}
        found = {float(v) for v in values.values() if isinstance(v, (int, float)) and not isinstance(v, bool)}
        found |= {0.0} if None in values.values() else set()  # no blocks: no decoder
        assert [value for value in row.named() if value not in found] == []
        return
    differences = str(changed(row.configs[0], DEFAULTS[method_of(row)])).lower()
    said = ' '.join(value for head, value in row.cells.items() if head not in (*PUBLISHED, 'config'))
    words = [word[:4].lower() for word in re.findall(r'[A-Za-z]{3,}', said)]
    if differences != '{}' and not any(known in row.case() for known in SAID_IN_OTHER_WORDS):
        assert any(word in differences for word in words)


RECIPES = [row for row in ROWS if method_of(row) in DEFAULTS and 'epochs' in row.cells and len(row.configs) == 1]


@pytest.mark.parametrize('row', RECIPES, ids=lambda row: f'{method_of(row)}: {" ".join(row.configs)}')
def test_a_row_has_the_length_and_the_batches_of_its_config(row):
    cfg = resolved(row.configs[0], processes=8)
    assert int(row.cells['epochs'].replace(',', '')) == cfg.max_epochs
    for head, cell in row.cells.items():
        if head.startswith('images a GPU'):
            batch, _, accumulation = cell.partition(' × ')
            assert int(batch) == cfg.train_dataloader.batch_size
            assert int(accumulation or 1) == batches_per_step(cfg)


@pytest.mark.parametrize('method', DEFAULTS)
def test_metafile_names_the_recipes_with_the_numbers_of_their_docstrings(method):
    meta = yaml.safe_load((ROOT / f'configs/{method}/metafile.yml').read_text())
    collection = meta['Collections'][0]
    assert (ROOT / collection['README']).is_file()
    recipes = [
        name
        for name in CONFIGS
        if name.startswith(f'configs/{method}/') and not re.search('ablations/|few_images/|vit-tiny', name)
    ]
    assert sorted(model['Config'] for model in meta['Models']) == sorted(recipes)
    for model in meta['Models']:
        cfg = plain(model['Config'])
        assert model['In Collection'] == collection['Name']
        assert model['Metadata']['Epochs'] == cfg['max_epochs']
        assert model['Metadata'].get('Batch Size', cfg['total_batch_size']) == cfg['total_batch_size']
        for result in model['Results'] or []:
            unit = '%' if result['Dataset'] == 'ImageNet-1k' else ''
            assert all(f'{value}{unit}' in docstring(model['Config']) for value in result['Metrics'].values())


def test_cmaes_page_states_where_the_presets_differ():
    text = (ROOT / 'configs/cmae/README.md').read_text()
    table = text[text.index("authors' code | key |") : text.index('| config | epochs')]
    stated = re.findall(r'`([\w.]+)`', '\n'.join(row.split(' | ')[-1] for row in table.splitlines()[1:]))
    differences = changed('configs/cmae/official/vit-b_300e.py', 'configs/cmae/vit-b_300e.py')
    keys = [key.removeprefix('model.') for key in differences]
    matches = {key: [name for name in stated if f'{key}.'.startswith(f'{name}.')] for key in keys}
    assert all(matches.values()) and set(stated) == set(sum(matches.values(), []))
