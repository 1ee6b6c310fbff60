"""mmmim.compare: networks judged by labels; the best layer; features kept on the disk."""

import importlib
import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from harness import make_config, train_here
from PIL import Image, ImageDraw

import mmmim.apis
from mmmim.apis.best_layer import best_layer, selection_scores
from mmmim.apis.extract import extract
from mmmim.apis.label_split import LabelSplit
from mmmim.commands.compare import main
from mmmim.evaluation.knn import knn_predict
from mmmim.evaluation.logistic import choose_probe
from mmmim.registry import TRANSFORMS

module = importlib.import_module('mmmim.apis.compare')
compare = module.compare
COLOURS = ((200, 80, 80), (80, 200, 80), (80, 80, 200))


def draw(path, label, rng):
    """A disc or a square in a colour that mostly tells the class, on noise."""
    image = Image.fromarray(rng.integers(0, 120, (24, 24, 3), dtype=np.uint8).astype(np.uint8))
    colour = tuple(int(v) for v in np.clip(np.array(COLOURS[label]) + rng.normal(0, 60, 3), 0, 255))
    shape = ImageDraw.Draw(image)
    (shape.ellipse if label else shape.rectangle)((5, 5, 18, 18), fill=colour)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp('judged') / 'photos', np.random.default_rng(0)
    for label, name in enumerate(('red', 'green', 'blue')):
        for i in range(60):
            draw(root / name / f'{i:03d}.png', label, rng)
    return root


class Fake:
    """As mmmim.load gives: layer 1 is the mean colour, layer 2 is as good, the output is ``output(mean colour)``."""

    licence, depth, img_size, layer, pool = 'mit', 2, (24, 24), None, None

    def __init__(self, name, output):
        self.name, self.output, self.batches = name, output, 0
        self.module = torch.nn.Linear(3, 3)
        steps = (dict(type='mmmim.LoadImage'), dict(type='mmmim.CenterCrop', size=24), dict(type='mmmim.PackImage'))
        self.pipeline = [TRANSFORMS.build(step) for step in steps]

    def features(self, batch, layers=(None,), pool=None):
        self.batches += 1
        colour = batch['inputs'].float().mean((2, 3)) / 50
        values = {1: colour, 2: colour.repeat(1, 2), None: self.output(colour)}
        return [values[layer] for layer in layers]


def noise(colour):
    return (1e4 * colour).sin()  # nothing that a probe could use


@pytest.fixture
def networks(monkeypatch, tmp_path):
    """What mmmim.load knows, and what it was asked for."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    real, asked = module.load, []
    torch.manual_seed(0)
    known = {'timm:colour': Fake('timm:colour', lambda x: x), 'hf-hub:a/noise': Fake('hf-hub:a/noise', noise)}

    def load(name, **options):
        asked.append((name, options))
        if name in known:
            return known[name]
        if module.is_public(name):
            raise FileNotFoundError(f'{name} was not fetched')
        return real(name, **options)

    monkeypatch.setattr(module, 'load', load)
    return SimpleNamespace(known=known, asked=asked)


BOTH = 'timm:colour, hf-hub:a/noise'


def test_rows_are_the_probes_of_the_features_on_the_report_images(networks, photos, tmp_path):
    result = compare(starts=BOTH, labels=str(photos), out=str(tmp_path / 'out'))
    split = LabelSplit.read(str(tmp_path / 'out'))
    row = result.rows[0]
    assert [entry['name'] for entry in result.rows] == ['timm:colour', 'hf-hub:a/noise']
    assert (row['kind'], row['licence'], row['layer']) == ('public', 'mit', None)

    def of(part):
        pairs = getattr(split, part)
        features = extract(networks.known['timm:colour'], [file for file, _ in pairs]).values[0]
        return features, torch.tensor([label for _, label in pairs])

    fit, selection, (report, truth) = of('fit'), of('selection'), of('report')
    right = choose_probe(*fit, *selection).predict(report) == truth
    assert row['linear'] == pytest.approx(100 * right.double().mean().item()) and 50 < row['linear'] < 100
    right = knn_predict(*fit, report, 3)[20] == truth
    assert row['knn'] == pytest.approx(100 * right.double().mean().item())
    assert row['linear_interval'][0] < row['linear'] < row['linear_interval'][1]
    assert row['linear_25'] == pytest.approx(row['linear'], abs=15) and row['seconds'] > 0
    assert result.rows[1]['linear'] < 60 < row['linear']
    assert result.counts == split.counts


def test_the_file_says_what_the_table_says(networks, photos, tmp_path, capsys):
    result = compare(starts=BOTH, labels=str(photos), out=str(tmp_path / 'out'))
    stored = json.loads((tmp_path / 'out/comparison.json').read_text())
    assert set(stored) == {'counts', 'limit', 'rows', 'differences', 'notes', 'when'} and stored['limit'] == 10_000
    assert stored['rows'] == result.rows and stored['differences'] == result.differences
    assert [(d['a'], d['b'], d['measure']) for d in stored['differences']] == [
        ('hf-hub:a/noise', 'timm:colour', measure) for measure in ('linear', 'linear_25', 'knn')
    ]
    first = stored['differences'][0]
    assert first['difference'] == pytest.approx(result.rows[1]['linear'] - result.rows[0]['linear'])
    assert first['interval'][0] < first['difference'] < first['interval'][1] < 0
    shown = capsys.readouterr().out
    assert first['sentence'] in shown and 'hf-hub:a/noise is worse than timm:colour by' in shown
    assert f'{result.rows[0]["linear"]:.1f}' in shown and '25 a class' in shown and 'comparison.json' in shown


def test_features_are_computed_once_for_the_same_weights_and_images(networks, photos, tmp_path):
    fake, root = networks.known['timm:colour'], shutil.copytree(photos / 'red', tmp_path / 'photos')
    files = sorted(map(str, root.iterdir()))

    def passes(layers=(None,)):
        before, values = fake.batches, extract(fake, files, layers).values
        return values, fake.batches - before

    values, first = passes()
    assert first == 1 and passes()[1] == 0
    assert torch.equal(passes()[0][0], values[0])
    both, more = passes((None, 1))
    assert more == 1 and torch.equal(both[0], values[0]) and passes((1, None))[1] == 0
    files.reverse()
    assert passes()[1] == 1
    with torch.no_grad():
        fake.module.weight.add_(1)
    assert passes()[1] == 1
    fake.img_size = (16, 16)
    assert passes()[1] == 1
    os.utime(files[0], (1, 1))
    assert passes()[1] == 1
    for file in (tmp_path / 'cache').rglob('*.npz'):
        file.write_bytes(file.read_bytes()[:100])
    assert passes()[1] == 1  # what is damaged is computed again


def test_the_cache_forgets_what_was_not_used_for_longest(networks, photos, tmp_path, monkeypatch):
    files = sorted(map(str, photos.rglob('*.png')))[:10]
    extract(networks.known['timm:colour'], files)
    (old,) = (tmp_path / 'cache').rglob('*.npz')
    os.utime(old, (1, 1))
    monkeypatch.setattr('mmmim.apis.extract.CACHE_BYTES', old.stat().st_size + 10)
    extract(networks.known['hf-hub:a/noise'], files)
    (kept,) = (tmp_path / 'cache').rglob('*.npz')
    assert kept != old


def test_an_unreadable_image_is_left_out_of_every_row(networks, photos, tmp_path):
    root = shutil.copytree(photos, tmp_path / 'photos')
    split = LabelSplit.of(str(root))
    for part in ('fit', 'report'):
        with open(getattr(split, part)[0][0], 'wb') as file:
            file.write(b'no picture')
    result = compare(starts=BOTH, labels=str(root))
    assert result.counts['report'] == len(split.report) - 1
    assert any('2 images cannot be read and are left out of every row' in note for note in result.notes)
    for file, _ in split.report:
        with open(file, 'wb') as stream:
            stream.write(b'no picture')
    with pytest.raises(ValueError, match='none of the .* images can be read|no image of the report part can be read'):
        compare(starts=BOTH, labels=str(root))


# ----------------------------------------------------------------------------------------------------------- the layer


def test_the_best_layer_is_found_by_one_pass_and_the_later_of_equals_is_taken(networks, photos):
    split, fake = LabelSplit.of(str(photos)), networks.known['hf-hub:a/noise']
    choice = best_layer(fake, split)
    assert choice.layer == 2 and list(choice.accuracy) == ['1', '2', 'output']
    assert choice.accuracy['2'] == pytest.approx(choice.accuracy['1'], abs=0.5)
    assert choice.accuracy['2'] > choice.accuracy['output'] + 20
    assert 'layer 2 of 2 is the best' in choice.sentence and 'points for the choice' in choice.sentence
    assert fake.batches == -(-len([*split.fit, *split.selection]) // 64)
    choice = best_layer(networks.known['timm:colour'], split)  # the output is as good, and later
    assert choice.layer is None and 'no layer is better than its output' in choice.sentence


def test_a_checkpoint_is_chosen_by_the_selection_images(networks, photos):
    split, fake = LabelSplit.of(str(photos)), networks.known['hf-hub:a/noise']
    scores = selection_scores(fake, split, 2)
    assert scores['linear'] == pytest.approx(best_layer(fake, split).accuracy['2'])
    assert scores['knn'] > selection_scores(fake, split)['knn'] + 20


def test_the_chosen_layer_is_judged(networks, photos):
    plain = compare(starts=BOTH, labels=str(photos))
    chosen = compare(starts=BOTH, labels=str(photos), layer='auto')
    assert [row['layer'] for row in chosen.rows] == [None, 2]
    assert chosen.rows[1]['linear'] > plain.rows[1]['linear'] + 20
    assert any('layer 2 of 2 is the best' in note for note in chosen.notes)


class OfTimm(Fake):
    """A network of timm's with random weights."""

    def __init__(self, name):
        super().__init__(name, None)
        self.module = timm.create_model('test_vit', img_size=32, patch_size=8, num_classes=0).eval()
        self.depth = len(self.module.blocks)

    @torch.no_grad()
    def features(self, batch, layers=(None,), pool=None):
        images = torch.nn.functional.interpolate(batch['inputs'].float() / 127 - 1, (32, 32))
        final, maps = self.module.forward_intermediates(images, norm=True)
        found = {i + 1: grid.mean((2, 3)) for i, grid in enumerate(maps)}
        found[None] = self.module.forward_head(final, pre_logits=True)
        return [found[layer] for layer in layers]


def test_a_random_network_of_timm_is_judged_too(networks, photos):
    networks.known['timm:random'] = OfTimm('timm:random')
    result = compare(starts=['timm:random'], labels=str(photos), layer='auto')
    (row,) = result.rows
    assert 33 < row['linear'] <= 100 and result.differences == []


# ----------------------------------------------------------------------------------------------------- what is compared


def test_public_weights_are_the_first_row_where_they_can_be_had(networks, photos, tmp_path):
    networks.known[module.STAND_IN] = Fake(module.STAND_IN, lambda x: x)
    result = compare(starts='', labels=str(photos))
    assert [row['name'] for row in result.rows] == [module.STAND_IN]
    assert any(f'{module.STAND_IN} stands for public weights' in note for note in result.notes)
    networks.known[module.PUBLIC] = big = Fake(module.PUBLIC, lambda x: x)
    big.img_size = (518, 518)
    assert [row['name'] for row in compare(starts='', labels=str(photos)).rows] == [module.PUBLIC]
    assert networks.asked[-1] == (module.PUBLIC, dict(device=None, image_size=224))


@pytest.mark.parametrize(
    'options, error, message',
    [
        (dict(starts=BOTH), ValueError, 'say by which labels to compare'),
        (dict(starts='random'), ValueError, "'random' is the architecture of a run"),
        (dict(starts=BOTH, layer=3), ValueError, "layer=3 can be 'auto'"),
        (dict(runs='nowhere'), FileNotFoundError, "no run 'nowhere'"),
        (dict(starts='timm:unknown'), FileNotFoundError, 'timm:unknown was not fetched'),
        (dict(), ValueError, 'nothing to compare.*pip install "mmmim\\[baseline\\]"'),
    ],
)
def test_bad_calls_end_with_what_to_do(networks, photos, options, error, message):
    labels = {} if 'which labels' in message else dict(labels=str(photos))
    with pytest.raises(error, match=message):
        compare(**options, **labels)
    assert all(fake.batches == 0 for fake in networks.known.values())


def test_the_command_hands_on_its_options(monkeypatch):
    seen = []
    monkeypatch.setattr(mmmim.apis, 'compare', lambda **options: seen.append(options))
    main(['runs/a', 'runs/b', '--starts', 'random,timm:x', '--labels', 'l.csv', '--layer', 'auto'])
    assert seen[0] == dict(
        runs=['runs/a', 'runs/b'],
        starts='random,timm:x',
        labels='l.csv',
        data=None,
        layer='auto',
        out=None,
        device=None,
        image_size=None,
    )


@pytest.fixture(scope='module')
def run(tmp_path_factory, photos):
    from mmengine.registry import DefaultScope

    folder = tmp_path_factory.mktemp('compared')
    with DefaultScope.overwrite_default_scope('mmmim'):
        train_here(make_config(folder / 'run', photos, epochs=2, **{'custom_imports.imports': ['mmmim']}))
    return folder / 'run'


@pytest.mark.runs
def test_a_run_beside_public_and_random_weights(networks, photos, run, monkeypatch):
    monkeypatch.setattr(module, 'DRAWS', 1)
    (run / 'report.html').write_text('old')
    result = compare(str(run), starts=['random', 'timm:colour'], labels=str(photos), layer='auto')
    assert [row['kind'] for row in result.rows] == ['public', 'random', 'own']
    assert [(d['a'], d['b']) for d in result.differences if d['measure'] == 'linear'] == [
        ('random', 'timm:colour'),
        (str(run), 'timm:colour'),
        (str(run), 'random'),
    ]
    split = LabelSplit.read(str(run))
    measured = len(split.selection) + len(split.report)
    assert any(f'{measured} of the {measured} images that measure are also pre-trained on' in n for n in result.notes)
    record = json.loads((run / 'run.json').read_text())
    assert record['layer'] in (None, 1, 2) and str(run) in record['layer_note'] and record['method'] == 'MAE'
    assert '<html' in (run / 'report.html').read_text()
    # the labels of a run are kept: nothing need be said the next time, and nothing is computed
    monkeypatch.setattr('mmmim.apis.extract._compute', None)
    again = compare(str(run), starts=['random', 'timm:colour'], layer='auto')
    assert [row['linear'] for row in again.rows] == [row['linear'] for row in result.rows]


@pytest.mark.runs
def test_the_random_row_is_the_architecture_of_the_run_with_other_weights(networks, run):
    ours, fresh = module.load(str(run)), module._load_random(str(run), None)
    assert (fresh.img_size, fresh.depth, fresh.width) == (ours.img_size, ours.depth, ours.width)
    a, b = (dict(frozen.module.named_parameters()) for frozen in (ours, fresh))
    assert a.keys() == b.keys() and (a['blocks.0.attn.qkv.weight'] - b['blocks.0.attn.qkv.weight']).abs().max() > 1e-3
    again = module._load_random(str(run), None)
    assert torch.equal(b['blocks.0.attn.qkv.weight'], dict(again.module.named_parameters())['blocks.0.attn.qkv.weight'])
