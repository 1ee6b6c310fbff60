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
from mmmim.apis.folder_split import FolderSplit
from mmmim.apis.label_split import LabelSplit, some
from mmmim.apis.pretrain import find_labels
from mmmim.commands.compare import main
from mmmim.evaluation.knn import knn_predict
from mmmim.evaluation.logistic import choose_probe
from mmmim.registry import MODELS, TRANSFORMS

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
    channels, value_range = 3, None

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
    fake.precision = 'bfloat16'
    assert passes()[1] == 1
    fake.device = 'meta'
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
    scores, colour = selection_scores(fake, split), selection_scores(networks.known['timm:colour'], split)
    assert scores['linear'] == pytest.approx(best_layer(fake, split).accuracy['output'])
    assert colour['knn'] > scores['knn'] + 20
    part = LabelSplit.of(str(photos))
    part.fit, part.selection = some(split.fit, 50), some(split.selection, 20)
    assert selection_scores(fake, split, 50, 20) == selection_scores(fake, part) != scores


def test_nothing_is_chosen_by_images_that_cannot_be_read_or_of_one_class(networks, photos, tmp_path):
    split, fake = LabelSplit.of(str(shutil.copytree(photos, tmp_path / 'photos'))), networks.known['timm:colour']
    whole = split.fit
    split.fit = [pair for pair in whole if pair[1] == 0]
    for choose in (selection_scores, best_layer):
        with pytest.raises(ValueError, match='images of the fit part that can be read are all of one class'):
            choose(fake, split)
    split.fit = whole
    for file, _ in split.selection:
        with open(file, 'wb') as stream:
            stream.write(b'no picture')
    with pytest.raises(ValueError, match='no image of the selection part can be read'):
        selection_scores(fake, split)


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


def test_large_files_are_capped_as_public_networks_are_and_runs_are_not(networks, photos, tmp_path, capsys):
    run = tmp_path / 'run'
    run.mkdir()
    for name in ('large.pth', str(run)):
        networks.known[name] = Fake(name, lambda x: x)
        networks.known[name].img_size = (518, 392)
    result = compare(str(run), starts=['timm:colour', 'large.pth'], labels=str(photos))
    assert [options for name, options in networks.asked if name == 'large.pth'] == [
        dict(device=None, image_size=None),
        dict(device=None, image_size=224),
    ]
    assert [options for name, options in networks.asked if name == str(run)] == [dict(device=None)]
    assert [row['image_size'] for row in result.rows] == [[24, 24], [518, 392], [518, 392]]
    head, first, second = capsys.readouterr().out.splitlines()[:3]
    assert head.split()[-2:] == ['pixels', 'seconds']
    assert first.split()[-2] == '24' and second.split()[-2] == '518x392'
    compare(starts=['timm:colour', 'large.pth'], labels=str(photos), image_size=448)
    assert networks.asked[-1] == ('large.pth', dict(device=None, image_size=448))


def test_few_labels_also_choose_the_strength(networks, photos, monkeypatch):
    asked = []

    def choose(fit, fit_labels, selection, selection_labels, classes):
        asked.append((fit_labels.bincount().tolist(), selection_labels.bincount().tolist()))
        return choose_probe(fit, fit_labels, selection, selection_labels, classes)

    monkeypatch.setattr(module, 'choose_probe', choose)
    monkeypatch.setattr(module, 'FEW', 5)
    compare(starts='timm:colour', labels=str(photos))
    whole, *few = asked
    assert min(whole[0]) > 20 and min(whole[1]) > 5
    assert few == [([5, 5, 5], [5, 5, 5])] * module.DRAWS


def test_the_labels_of_a_run_are_found_where_pre_training_found_them(networks, photos, tmp_path):
    run, csv = tmp_path / 'run', tmp_path / 'labels.csv'
    files = sorted(photos.rglob('*.png'))
    csv.write_text(''.join(f'{file.relative_to(photos)},{file.parent.name}\n' for file in files))
    split = find_labels(FolderSplit(str(photos)), str(csv), str(run), False)
    networks.known[str(run)] = Fake(str(run), lambda x: x)
    for out in (None, str(tmp_path / 'out')):
        result = compare(str(run), starts='timm:colour', labels=str(csv), out=out)
        assert result.counts == split.counts and LabelSplit.read(out or str(run)).report == split.report
    with pytest.raises(FileNotFoundError, match='do not exist under'):
        compare(starts='timm:colour', labels=str(csv))  # nobody has said where


ENCODER = dict(type='MaskedViT', arch=dict(embed_dim=32, depth=2, num_heads=2), img_size=32, patch_size=8)


@pytest.fixture
def trained_on(tmp_path):
    """What a run of this data set is said to have seen."""
    state = {f'backbone.{key}': value for key, value in MODELS.build(ENCODER).state_dict().items()}

    def of(**dataset):
        model, loader = dict(type='MAE', backbone=ENCODER), dict(dataset=dict(dataset, pipeline=[dict(type='Any')]))
        meta = dict(cfg=f'model = {model!r}\ntrain_dataloader = {loader!r}', iter=4, epoch=1)
        torch.save(dict(state_dict=state, meta=meta, message_hub={}), tmp_path / 'epoch_1.pth')
        return module.trained_on(str(tmp_path))

    return of


def test_the_images_of_pre_training_are_read_from_its_config(trained_on, photos, tmp_path):
    names = [f'red/{i:03d}.png' for i in range(3)]
    (tmp_path / 'train.txt').write_text(''.join(f'{name} 0\n' for name in names))
    listed = dict(type='mmmim.ImageFolder', data_root=str(photos), ann_file=str(tmp_path / 'train.txt'))
    assert trained_on(**listed) == [str(photos / name) for name in names]
    found = trained_on(type='ImageFolder', data_root=str(photos.parent), data_prefix=dict(img_path=photos.name))
    assert sorted(found) == sorted(map(str, photos.rglob('*.png')))


def test_a_config_from_a_checkpoint_runs_nothing(trained_on, photos, tmp_path, monkeypatch):
    (tmp_path / 'stranger.py').write_text('raise SystemExit("imported")')
    monkeypatch.syspath_prepend(tmp_path)
    root = str(photos)
    assert trained_on(type='stranger.Images', data_root=root) == []
    assert trained_on(type='ImageFolder', data_root=root, metainfo=dict(type='stranger.Images')) == []
    assert trained_on(type='ImageFolder', data_root=root, _scope_='stranger') == []
    assert trained_on(type='ImageFolder', data_root=[root]) == [] != trained_on(type='ImageFolder', data_root=root)


@pytest.mark.parametrize(
    'options, error, message',
    [
        (dict(starts=BOTH), ValueError, 'say by which labels to compare'),
        (dict(starts='random'), ValueError, "'random' is the architecture of a run"),
        (dict(starts=BOTH, layer='all'), ValueError, "layer='all' can be 'auto'"),
        (dict(runs='nowhere'), FileNotFoundError, "no run 'nowhere'"),
        (dict(starts='timm:unknown'), FileNotFoundError, 'timm:unknown was not fetched'),
        (dict(), ValueError, 'nothing to compare.*pip install "\\.\\[baseline\\]"'),
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
