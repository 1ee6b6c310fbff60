"""configs/papers.md is what its generator writes, and papers.yml says what the documents print and the configs are."""

import re
import runpy
import sys
from pathlib import Path

import pytest
import yaml
from config_harness import CONFIGS, ROOT, config, resolved
from mmengine.config import DictAction

sys.path.insert(0, str(ROOT / 'tools'))

import paper_rows  # noqa: E402

LIST = runpy.run_path(str(ROOT / 'tools/list_configs.py'))
PAPERS, runs = paper_rows.read(), paper_rows.runs
ENTRIES = [entry for _, table, row in paper_rows.rows(PAPERS, settings=True) for entry in (table, row)]
ENTRIES += [figure for document in PAPERS['documents'] for figure in document['figures']]
METRICS = {  # columns whose numbers a metafile has of the config that is trained
    'ft': 'fine-tuning',
    'ft acc': 'fine-tuning',
    'lin': 'linear',
    'Full': 'NME',
    'FR': 'FR (10%)',
    'AUC': 'AUC (10%)',
}


def configs_of(entry):
    return [run for key in ('config', 'from', 'then') for run in runs(entry, key)]


def test_the_page_is_written_anew_where_a_row_or_the_record_changed():
    record = yaml.safe_load((ROOT / 'configs/ran.yml').read_text())
    assert LIST['PAPERS_PAGE'].read_text() == paper_rows.papers_page(record), 'python tools/list_configs.py'


@pytest.mark.parametrize(
    'name, printed, own',
    [('MAE', 49, 49), ('CMAE', 69, 34), ('GAN-MAE', 53, 27), ('Vision ELECTRA', 5, 5), ('CrossMAE', 95, 53)],
)
def test_every_printed_row_is_there(name, printed, own):
    found = [row for document, _, row in paper_rows.rows(PAPERS) if document['name'] == name]
    assert len(found) == printed and sum('quoted' not in row for row in found) == own


def test_every_run_of_a_document_itself_has_a_config():
    own = [(table, row) for _, table, row in paper_rows.rows(PAPERS) if 'quoted' not in row and 'config' not in row]
    assert [(table['table'], row['row']) for table, row in own] == [('Table 3b', 'iBOT†')]


def test_configs_are_there():
    paths = {run.path for entry in ENTRIES for run in configs_of(entry)}
    assert sorted(path for path in paths if f'configs/{path}' not in CONFIGS) == []


OPTIONS = sorted({run for entry in ENTRIES for run in configs_of(entry) if run.options})


@pytest.mark.parametrize('run', OPTIONS, ids=' '.join)
def test_options_of_a_command_are_keys_of_its_config(run):
    flag, *pairs = run.options.split()
    keys = [pair.split('=')[0] for pair in pairs]
    cfg = config(f'configs/{run.path}')
    before = [cfg.get(key.split('.')[0]) if '.' not in key else _at(cfg, key) for key in keys]
    values = [DictAction._parse_int_float_bool(pair.split('=')[1]) for pair in pairs]
    assert flag == '--cfg-options' and all(old is not None and old != new for old, new in zip(before, values))


def _at(node, key):
    for part in key.split('.'):
        node = node[part]
    return node


def test_commands_name_tools_and_configs_that_are_there():
    commands = [entry['command'] for entry in ENTRIES if 'command' in entry]
    named = {word for command in commands for word in re.findall(r'(?:tools|configs)/\S+', command)}
    assert len(named) > 5 and [word for word in named if not (ROOT / word).is_file()] == []


def published():
    """``{(config, metric): its number}`` of all metafiles."""
    found = {}
    for path in sorted((ROOT / 'configs').rglob('metafile.yml')):
        for model in yaml.safe_load(path.read_text())['Models']:
            for result in model['Results'] or []:
                for name, value in result['Metrics'].items():
                    words = ('fine-tuning', 'linear') if 'Accuracy' in name else ()
                    metric = next((word for word in words if word in name), name)
                    found.setdefault((model['Config'].removeprefix('configs/'), metric), set()).add(str(value))
    return found


def test_numbers_are_those_of_the_metafiles():
    """A row prints the number that the metafile has of its config, or says in its note what else is printed."""
    known, compared = published(), 0
    for _, table, row in paper_rows.rows(PAPERS):
        found = runs(row)
        if len(found) != 1 or found[0].options:
            continue
        for column, number in zip(table['columns'], row['numbers']):
            values = known.get((found[0].path, METRICS.get(column)))
            if values is not None:
                compared += 1
                assert number in values or any(value in row.get('note', '') for value in values), (table['table'], row)
    assert compared > 50


def test_every_number_of_a_metafile_is_printed_in_a_row_or_told_of_a_figure():
    told = [
        (run.path, number) for _, _, row in paper_rows.rows(PAPERS) for run in runs(row) for number in row['numbers']
    ]
    figures = [figure for document in PAPERS['documents'] for figure in document['figures']]
    told += [
        (run.path, number) for one in figures for run in runs(one) for number in re.findall(r'[\d.]+', one['what'])
    ]
    five = ('mae/', 'cmae/', 'gan_mae/', 'vision_electra/', 'crossmae/', 'downstream/landmarks/')
    # the presets with the settings of CMAE's code have the numbers of its README
    known = {
        key: values for key, values in published().items() if key[0].startswith(five) and 'official/' not in key[0]
    }
    assert [key for key, values in known.items() if not any((key[0], value) in told for value in values)] == []


def settings(name):
    table = next(t for d in PAPERS['documents'] for t in d['tables'] if t['table'] == name and 'settings' in t)
    return {row['row'].lower(): row['numbers'][0] for row in table['rows']}, resolved(f'configs/{table["config"]}')


@pytest.mark.parametrize('name', ['Table 16', 'Table 17', 'Table 18'])
def test_settings_are_those_of_the_config(name):
    printed, cfg = settings(name)
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == printed['optimizer'] and optimizer.weight_decay == float(printed['weight decay'])
    assert cfg.base_lr == float(printed['base lr']) and cfg.total_batch_size == int(printed['batch size'])
    assert cfg.warmup_epochs == int(printed['warmup epochs'])
    assert cfg.max_epochs == int(printed.get('training epochs', cfg.max_epochs))
    momentum = optimizer.get('betas', optimizer.get('momentum'))
    assert momentum == (
        float(printed['optimizer momentum']) if name == 'Table 17' else (0.9, float(printed['optimizer momentum'][5:]))
    )
    if name == 'Table 18':
        assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == float(printed['layer-wise lr decay'])
        assert cfg.model.head.loss.label_smooth_val == float(printed['label smoothing'])
        assert [one.alpha for one in cfg.model.train_cfg.augments] == [
            float(printed['mixup']),
            float(printed['cutmix']),
        ]
        assert cfg.model.backbone.drop_path_rate == float(printed['drop path'])


@pytest.mark.parametrize(
    'row, message',
    [
        ('{row: a, numbers: [1, 2]}', "Table 1, 'a': it needs `config`, or `why`"),
        ('{row: a, numbers: [1, 2], config: x.py, why: none}', "'a': it needs `config`, or `why`"),
        ('{row: a, numbers: [1], config: x.py}', "'a': 1 numbers for the columns ft, lin"),
    ],
)
def test_a_row_that_says_too_little_is_an_error(row, message, monkeypatch, tmp_path):
    text = f'documents: [{{name: D, tables: [{{table: Table 1, columns: [ft, lin], rows: [{row}]}}]}}]'
    (tmp_path / 'papers.yml').write_text(text)
    monkeypatch.setattr(paper_rows, 'PAPERS', Path(tmp_path / 'papers.yml'))
    with pytest.raises(ValueError, match=re.escape(message)):
        paper_rows.read()


def test_what_ran_of_a_row_is_what_the_record_has_of_its_configs():
    record = {'a/b.py': dict(how='short', steps='5', date='2026-11-01')}
    a, c = paper_rows.Run('a/b.py', 'max_epochs=2'), paper_rows.Run('c.py', '')
    assert paper_rows.ran([c], record) == 'built'
    assert paper_rows.ran([a], record) == 'short: 5, 2026-11-01'
    assert paper_rows.ran([a, c], record) == 'b: short: 5, 2026-11-01'
