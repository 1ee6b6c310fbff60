"""Write configs/README.md, configs with what of them was run, and configs/papers.md, printed rows with their configs.

    python tools/list_configs.py [--check]     # --check: end with 1 where a page is not what this would write

What was run stands in configs/ran.yml, what is printed in configs/papers.yml; all else is read from the configs.
"""

import argparse
import ast
import re
import sys
from pathlib import Path
from typing import Any, Dict, List

import yaml
from mmengine.config import Config

sys.path.insert(0, str(Path(__file__).resolve().parent))

from paper_rows import PAPERS_PAGE, papers_page  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
CONFIGS, PAGE, RAN = ROOT / 'configs', ROOT / 'configs/README.md', ROOT / 'configs/ran.yml'
TITLES = {
    'mae': 'MAE',
    'cmae': 'CMAE',
    'gan_mae': 'GAN-MAE',
    'vision_electra': 'Vision ELECTRA',
    'crossmae': 'CrossMAE',
    'simmim': 'SimMIM',
    'maskfeat': 'MaskFeat',
    'mocov3': 'MoCo v3',
    'beit': 'BEiT',
    'cae': 'CAE',
    'quickstart': 'Quickstart: what `mmmim pretrain --method` and `tools/quickstart.sh` run',
    'downstream/classification': 'Classification',
    'downstream/segmentation': 'Segmentation',
    'downstream/detection': 'Detection',
    'downstream/landmarks': 'Facial landmarks',
}
HEAD = """# Configs

Written by `python tools/list_configs.py`; do not edit it by hand.

Each file says in its docstring how it is run, on what, and where its published number stands. `_base_/` holds what
they inherit. `mmmim train mae/vit-b_800e.py` finds them from any folder, and `_base_ = 'mmmim::mae/vit-b_800e.py'`
inherits one. [Every printed row of the documents, with its config](papers.md).

- **published**: quoted, in %, with its source in the docstring; "-" where the documents have none for it.
- **run here**: *full* (the config's own length), *short* (how long, when), or *built* (the tests build it, no more). No
  published number was reproduced at its length.

"""
NUMBER = re.compile(
    r'(\d+\.\d+ ?(?:%|mIoU|box AP|mask AP|mCE))((?: (?:mIoU|box AP|mask AP|NME|fine-tun\w+|linear|top-1|accuracy))?)'
)


def names() -> List[str]:
    """Every config that a person runs, as its path below configs/."""
    paths = (path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob('*.py'))
    return sorted(path for path in paths if not path.startswith('_base_/'))


def docstring(name: str) -> str:
    return ast.get_docstring(ast.parse((CONFIGS / name).read_text())) or ''


def title(text: str) -> str:
    """The first sentence of the first paragraph, which may hold numbers with a point and "Eq. 5"."""
    paragraph = ' '.join(text.partition('\n\n')[0].split())
    return re.split(r'(?<!\bEq)\.\s+(?=[A-Z`])', paragraph, maxsplit=1)[0].removesuffix('.')


def published(text: str) -> str:
    """The numbers behind the word Published; none where it says that there is nothing for the config itself."""
    quoted = re.search(r'Published(?!:? (?:nothing|no number|a point))(.*)', ' '.join(text.split()))
    found: Dict[str, str] = {}
    for number, kind in NUMBER.findall(quoted[1]) if quoted else []:
        # smaller ones are differences, where they are no errors
        if float(re.match(r'[\d.]+', number)[0]) >= 5 or 'NME' in kind:
            found.setdefault(number, kind)
    cells = [number + kind for number, kind in found.items()]
    return ', '.join(cells[:4]) + (', ...' if len(cells) > 4 else '') or '-'


def encoder(name: str) -> str:
    """Type and size of the backbone, and the image size that it is for; dense tasks state theirs in other keys."""
    backbone = Config.fromfile(str(CONFIGS / name)).get('model', {}).get('backbone', {})
    arch = backbone.get('arch', '')
    if isinstance(arch, dict):
        arch = ' x '.join(str(arch[key]) for key in ('embed_dim', 'depth') if key in arch)
    kind, size = str(backbone.get('type', '')).rpartition('.')[2], backbone.get('img_size', '')
    parts = [kind, str(arch), f'{size} px' if size and not kind.startswith('Dense') else '']
    return ', '.join(part for part in parts if part) or '-'


def ran(name: str, record: Dict[str, Any]) -> str:
    found = record.get(name)
    return f'{found["how"]}: {found["steps"]}, {found["date"]}' if found else 'built'


def page() -> str:
    """The whole page.

    Raises:
        KeyError: ran.yml names a config that does not exist, or a config lies in a folder without a title.
    """
    record, listed = yaml.safe_load(RAN.read_text()), names()
    unknown = sorted(set(record) - set(listed))
    if unknown:
        raise KeyError(f'ran.yml names {", ".join(unknown)}, which are no configs')
    sections: Dict[str, List[str]] = {folder: [] for folder in TITLES}
    for name in listed:
        folder = '/'.join(name.split('/')[: 2 if name.startswith('downstream/') else 1])
        text = docstring(name)
        cells = [
            f'[{name[len(folder) + 1 : -3]}]({name})',
            title(text),
            encoder(name),
            published(text),
            ran(name, record),
        ]
        sections[folder].append(f'| {" | ".join(cell.replace("|", "/") for cell in cells)} |')
    lines = [HEAD.rstrip('\n'), '', f'{len(listed)} configs, {len(record)} of them run.', '']
    for folder, rows in sections.items():
        if rows:
            lines += [f'## {TITLES[folder]}', '']
            if (CONFIGS / folder / 'README.md').exists():
                lines += [f'Tables, settings and what was measured: [{folder}]({folder}/README.md).', '']
            lines += [
                '| config | what | encoder | published | run here |',
                '| --- | --- | --- | --- | --- |',
                *rows,
                '',
            ]
    return '\n'.join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true', help='write nothing')
    check = parser.parse_args().check
    pages = {PAGE: page(), PAPERS_PAGE: papers_page(yaml.safe_load(RAN.read_text()))}
    if check:
        return int(any(path.read_text() != text for path, text in pages.items()))
    for path, text in pages.items():
        path.write_text(text)
    return 0


if __name__ == '__main__':
    sys.exit(main())
