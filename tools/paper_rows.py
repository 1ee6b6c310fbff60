"""The page of printed rows, configs/papers.md: what each document's tables print, and what runs it here.

`python tools/list_configs.py` writes it, from configs/papers.yml and from configs/ran.yml. Values of papers.yml stay
text, so that numbers keep the digits that are printed.
"""

from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import yaml

CONFIGS = Path(__file__).resolve().parent.parent / 'configs'
PAPERS, PAPERS_PAGE = CONFIGS / 'papers.yml', CONFIGS / 'papers.md'
HEAD = """# Every printed row

Written by `python tools/list_configs.py` from papers.yml and ran.yml; do not edit it by hand.

Every row of every table of the five documents, and their figures. **No number on this page is a result of this code:
all are quoted from the document whose section they stand in.** "(quoted)" after a row: the document has it from others.

- **config**: what is trained for the row, with what follows on the command line; or the reason why there is none.
  *Measured with*: the configs that take the checkpoint by `pretrained=` and give the numbers.
- **run here**: of each config of the row, *full* (its own length; its page has the result), *short* (which steps were
  trained, when), or *built* (the tests build it, no more).

"""


class Run(NamedTuple):
    """A config as a row states it: its path below configs/, and the rest of the command line."""

    path: str
    options: str


def listed(value: Any) -> List[str]:
    """A value that may be one or several, as papers.yml has it."""
    return [value] if isinstance(value, str) else list(value or [])


def runs(entry: Dict[str, Any], key: str = 'config') -> List[Run]:
    """The configs of a row, a table or a figure."""
    return [
        Run(path, options) for path, _, options in (' '.join(v.split()).partition(' ') for v in listed(entry.get(key)))
    ]


def read() -> Dict[str, Any]:
    """papers.yml, checked.

    Raises:
        ValueError: A row without a config and a reason, or with both; or with more or fewer numbers than columns.
    """
    papers: Dict[str, Any] = yaml.load(PAPERS.read_text(), Loader=yaml.BaseLoader)
    for document, table, row in rows(papers, settings=True):
        place = f'papers.yml, {document["name"]}, {table["table"]}, {row["row"]!r}'
        if len(row['numbers']) != len(table['columns']):
            raise ValueError(f'{place}: {len(row["numbers"])} numbers for the columns {", ".join(table["columns"])}')
        if 'settings' not in table and ('config' in row) == ('why' in row):
            raise ValueError(f'{place}: it needs `config`, or `why` there is none, and not both')
    return papers


def rows(papers: Dict[str, Any], settings: bool = False) -> Iterator[Tuple[dict, dict, dict]]:
    """``(document, table, row)`` of all results; of the tables of settings, too, if they are asked for."""
    for document in papers['documents']:
        for table in document['tables']:
            if settings or 'settings' not in table:
                yield from ((document, table, row) for row in table['rows'])


def link(run: Run, short: bool = True) -> str:
    name = run.path[:-3]
    shown = name.removeprefix('downstream/').removeprefix('classification/') if short else name
    return f'[{shown}]({run.path})' + (f' `{run.options}`' if run.options else '')


def ran(found: List[Run], record: Dict[str, Any]) -> str:
    """What of these configs was run, of the ones that were; 'built' where none was."""
    cells = []
    for path in dict.fromkeys(run.path for run in found):
        if path in record:
            name = f'{Path(path).stem}: ' if len(found) > 1 else ''
            cells.append(f'{name}{record[path]["how"]}: {record[path]["steps"]}, {record[path]["date"]}')
    return '; '.join(cells) or 'built'


def row_line(row: Dict[str, Any], reasons: Dict[str, str], record: Dict[str, Any]) -> str:
    found = runs(row)
    told = ', '.join(map(link, found)) if found else 'none: ' + reasons.get(row['why'], row['why'])
    cells = [
        row['row'] + (' (quoted)' if 'quoted' in row else ''),
        *row['numbers'],
        '. '.join(filter(None, [told, row.get('note')])),
        ran(found, record) if found else '-',
    ]
    return f'| {" | ".join(cell.replace("|", "/") for cell in cells)} |'


def table_lines(table: Dict[str, Any], reasons: Dict[str, str], record: Dict[str, Any]) -> List[str]:
    told = [
        f'{word}: {", ".join(map(link, runs(table, key)))}.'
        for word, key in (('Pre-trained by', 'from'), ('Measured with', 'then'), ('Stated in', 'config'))
        if key in table
    ]
    if 'command' in table:
        told.append(f'Command: `{table["command"]}`.')
    lines = [f'### {table["table"]}', '', f'{table["what"][0].upper()}{table["what"][1:]}.', *told, '']
    if 'settings' in table:
        columns = ['setting', *table['columns']]
        body = [f'| {row["row"]} | {" | ".join(row["numbers"])} |' for row in table['rows']]
    else:
        columns = ['row', *table['columns'], 'config', 'run here']
        body = [row_line(row, reasons, record) for row in table['rows']]
    return [*lines, f'| {" | ".join(columns)} |', f'| {" | ".join("---" for _ in columns)} |', *body, '']


def figure_line(figure: Dict[str, Any], record: Dict[str, Any]) -> str:
    found, then = runs(figure), runs(figure, 'then')
    told = ', '.join(map(link, found))
    if then:
        told += f'; measured with {", ".join(map(link, then))}'
    if 'command' in figure:
        told += f'{"; " if told else ""}`{" ".join(figure["command"].split())}`'
    cells = [figure['figure'], figure['what'], told, ran(found, record) if found else '-']
    return f'| {" | ".join(cell.replace("|", "/") for cell in cells)} |'


def count_lines(papers: Dict[str, Any], record: Dict[str, Any]) -> List[str]:
    """A table: of each document how many rows there are, have a config, were run."""
    lines = ['| document | printed rows | its own | with a config | any of it run | without one |', '| --- ' * 6 + '|']
    for document in papers['documents']:
        found = [row for of, _, row in rows(papers) if of is document]
        own = sum('quoted' not in row for row in found)
        with_config = sum('config' in row for row in found)
        run = sum(any(one.path in record for one in runs(row)) for row in found)
        cells = [f'[{document["name"]}](#{document["name"].lower().replace(" ", "-")})', len(found), own, with_config]
        lines.append(f'| {" | ".join(map(str, [*cells, run, len(found) - with_config]))} |')
    return [*lines, '']


def papers_page(record: Dict[str, Any]) -> str:
    """The whole page.

    Args:
        record: ran.yml.
    """
    papers = read()
    lines = [HEAD.rstrip('\n'), '', *count_lines(papers, record)]
    for document in papers['documents']:
        lines += [f'## {document["name"]}', '', f'{document["title"]}.', '']
        for table in document['tables']:
            lines += table_lines(table, papers['reasons'], record)
        lines += ['### Figures and text', '', '| where | what | config or command | run here |', '| --- ' * 4 + '|']
        lines += [*(figure_line(figure, record) for figure in document['figures']), '']
    return '\n'.join(lines)
