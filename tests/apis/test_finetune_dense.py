"""Fine-tuning for segmentation and detection: starts, one small run of each, and what is refused before it."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from harness import ROOT
from mmengine.runner import Runner
from PIL import Image

pytest.importorskip('mmseg')
pytest.importorskip('mmdet')
sys.path.insert(0, str(ROOT / 'tests/downstream'))
import det_harness  # noqa: E402
import seg_harness  # noqa: E402

from mmmim.apis.finetuning import dense, detection, encoders, segmentation  # noqa: E402
from mmmim.apis.finetuning.encoders import find_encoder  # noqa: E402
from mmmim.apis.finetuning.request import Request, Results, Stage  # noqa: E402
from mmmim.apis.trained import open_trained  # noqa: E402
from mmmim.checkpoint import export_encoder  # noqa: E402
from mmmim.config.load import load_config  # noqa: E402
from mmmim.config.prepare import set_up_scope, settle  # noqa: E402
from mmmim.config.schedule import set_batch_and_lr  # noqa: E402
from mmmim.config.write import Choice, config_text  # noqa: E402
from mmmim.datasets.coco_file import AnnotationError  # noqa: E402
from mmmim.datasets.mask_folder import read_pairs  # noqa: E402
from mmmim.engine.hooks.check_data import MaskError  # noqa: E402
from mmmim.engine.launch import build_runner  # noqa: E402
from mmmim.registry import MODELS  # noqa: E402

VIT = dict(type='MaskedViT', arch=dict(embed_dim=32, depth=4, num_heads=2), img_size=32, patch_size=8)
ONCE = {'train_cfg.val_interval': 3, 'default_hooks.checkpoint.interval': 3, 'optim_wrapper.dtype': 'float32'}
FAST = dict(epochs=1, batch_size=4, workers=0, overrides=ONCE)


def export(path, backbone=VIT):
    torch.manual_seed(0)
    module = MODELS.build(dict(backbone, type=f'mmmim.{backbone["type"]}'))
    facts = dict(backbone=backbone, mean=[110.0, 120.0, 130.0], std=[50.0, 60.0, 70.0])
    export_encoder(module, str(path), facts)
    return str(path)


@pytest.fixture(scope='module')
def encoder(tmp_path_factory) -> str:
    return export(tmp_path_factory.mktemp('start') / 'encoder.safetensors')


@pytest.fixture(scope='module')
def masks(tmp_path_factory) -> Path:
    root = seg_harness.make_masks(tmp_path_factory.mktemp('masks'), 12, 6, reduced=True)
    (root / 'classes.txt').write_text('ground\ndisc\nsquare\n')
    return root


@pytest.fixture(scope='module')
def boxes(tmp_path_factory) -> Path:
    """One file, without outlines."""
    root = det_harness.make_coco(tmp_path_factory.mktemp('boxes'), 15, 0)
    content = det_harness.read(root)
    for annotation in content['annotations']:
        annotation['segmentation'] = []
    det_harness.write(root, 'train2017', content)
    (root / 'annotations/instances_train2017.json').rename(root / 'annotations/all.json')
    (root / 'annotations/instances_val2017.json').unlink()
    return root


# ----------------------------------------------------------------------------------------------------------- the starts

SWIN = dict(arch=dict(embed_dim=12, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2)), img_size=64, patch_size=4)
STARTS = {
    'ViT': VIT,
    'ViT with registers': dict(VIT, num_register_tokens=2, patch_size=6, img_size=36),
    'relative positions': dict(VIT, type='RelativeViT', img_size=32),
    'Swin': dict(SWIN, type='MaskedSwin', window_size=2),
}


@pytest.mark.parametrize('kind', STARTS)
@pytest.mark.parametrize('task', ['segmentation', 'detection'])
def test_each_encoder_gets_a_model_that_learns_from_a_batch(task, kind, masks, boxes, tmp_path):
    model = export(tmp_path / 'encoder.safetensors', STARTS[kind])
    module, name = (segmentation, 'SegmentationJob') if task == 'segmentation' else (detection, 'DetectionJob')
    data = masks if task == 'segmentation' else boxes
    size = 72 if kind == 'ViT with registers' else 64
    request = Request(str(data), str(tmp_path / 'out'), model, batch_size=2, workers=0, image_size=size)
    start = find_encoder(model)
    base, choices = getattr(module, name)(request, 'cpu').plan(start, Choice(20, ''))
    weights = {'pretrained': Choice(start.start.write(str(tmp_path / 'out')), '')}
    (tmp_path / 'finetune.py').write_text(config_text({**weights, **choices}, base, '', ''))
    cfg = load_config(str(tmp_path / 'finetune.py'), work_dir=str(tmp_path / 'run'))
    set_up_scope(cfg)
    set_batch_and_lr(cfg, 1)
    settle(cfg)
    assert list(cfg.model.data_preprocessor.mean) == [110.0, 120.0, 130.0]
    built = MODELS.build(cfg.model)
    built.init_weights()
    for loader in ('train', 'val', 'test'):
        cfg[f'{loader}_dataloader'].update(num_workers=0, persistent_workers=False)
    batch = next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=0)))
    losses = built(**built.data_preprocessor(batch, True), mode='loss')
    total = sum(value.sum() for key, entry in losses.items() if 'loss' in key
                for value in (entry if isinstance(entry, list) else [entry]))  # fmt: skip
    total.backward()
    assert torch.isfinite(total)
    first = next(parameter for name, parameter in built.backbone.named_parameters() if 'patch_embed' in name)
    assert first.grad is not None and first.grad.abs().sum() > 0


def test_a_network_of_timm_is_for_classification_alone(monkeypatch):
    def refuse(model, sizes):
        raise ValueError('resnet18 cannot be trained from here')

    monkeypatch.setattr(encoders, 'find_start', refuse)
    with pytest.raises(ValueError, match='cannot be trained from here.*classification takes any'):
        find_encoder('timm:resnet18')
    with pytest.raises(ValueError, match='from here$'):
        find_encoder('nothing')


# -------------------------------------------------------------------------------------------------------- segmentation


@pytest.fixture(scope='module')
def segmented(masks, encoder, tmp_path_factory):
    request = Request(str(masks), str(tmp_path_factory.mktemp('seg') / 'out'), encoder, **FAST)
    return request, segmentation.run(request)


def of_the_test_loop(folder, key):
    """What the test loop says of a folder's model."""
    cfg = load_config(str(Path(folder) / 'model.py'), work_dir=str(Path(folder) / 'tested'))
    cfg.load_from = str(Path(folder) / 'model.pth')
    cfg.experiment_name = f'test_{Path(folder).parent.name}'
    return build_runner(cfg).test()[key]


def test_a_segmentor_is_kept_and_its_number_is_that_of_the_test_loop(segmented, encoder):
    request, done = segmented
    results = done.results
    assert results.finished and Results.read(request.out) == results
    assert results.counts == dict(fit=12, selection=3, report=3, classes=3) and results.start['name'] == encoder
    (best,) = results.stages
    assert (best.name, best.metric, best.kept) == ('UperNet', 'mIoU', True)
    assert best.interval[0] <= best.report <= best.interval[1]
    assert [row['name'] for row in results.per_class] == ['ground', 'disc', 'square']
    trained = open_trained(request.out)
    assert (trained.task, trained.classes) == ('segmentation', ['ground', 'disc', 'square'])
    assert of_the_test_loop(request.out, 'mIoU') == pytest.approx(best.report, abs=0.01)
    assert Path(done.report).stat().st_size > 10_000 and Path(request.out, 'segmentation/predictions.png').is_file()


def test_selection_and_report_are_other_images(segmented):
    lists = [read_pairs(f'{segmented[0].out}/lists/{part}.txt') for part in ('fit', 'selection', 'report')]
    assert [len(part) for part in lists] == [12, 3, 3]
    assert not set(lists[1]) & set(lists[2]) and all('validation' in image for image, _ in lists[1] + lists[2])


def test_the_written_config_says_why_and_starts_from_the_encoder(segmented):
    text = Path(segmented[0].out, 'finetune.py').read_text()
    assert "_base_ = 'mmmim::downstream/segmentation/vit-tiny_folder_upernet.py'" in text
    assert '# 3 classes: names of classes.txt; 0 is unlabelled' in text and 'candidates/start.safetensors' in text
    log = next(Path(segmented[0].out, 'segmentation/pretrained').glob('*/*.log')).read_text()
    assert 'Encoder starts from' in log or 'start.safetensors' in log


def test_what_is_finished_is_not_done_again(segmented, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError('it trains')

    request, done = segmented
    monkeypatch.setattr(dense, 'train_quietly', never)
    assert segmentation.run(request).results == done.results
    results = Results.read(request.out)
    results.finished = False  # killed before the model was written: neither trained nor measured again
    results.write(request.out)
    Path(request.out, 'model.pth').unlink()
    again = segmentation.run(request)
    assert again.results.stages == done.results.stages and Path(again.checkpoint).is_file()
    assert again.results.per_class == done.results.per_class


def test_images_to_report_elsewhere_change_neither_classes_nor_draws(masks, tmp_path):
    data, other = tmp_path / 'a/data', tmp_path / 'b/other'
    for root, first in ((data, 0), (other, 40)):
        draw_masks(root, lambda i: HALVES + np.uint8(1) + HALVES * np.uint8(i % 2), first=first)
    (data / 'classes.txt').write_text('x\ny\nz\n')
    (tmp_path / 'labels.txt').write_text('of\nsomething\nelse\n')

    def job(**options):
        out = tmp_path / f'out{len(list(tmp_path.iterdir()))}'
        made = segmentation.SegmentationJob(Request(str(data), str(out), 'vit-tiny', **options), 'cpu')
        made._data()
        return made, read_pairs(f'{out}/lists/report.txt')

    alone, _ = job()
    beside, reported = job(test=str(other))
    assert alone.classes == beside.classes and alone.classes.names == ['x', 'y', 'z']
    assert alone.classes.reduce_zero_label and alone.root == beside.root == str(data)
    assert {pair.image for pair in beside.parts.selection} <= {f'images/{i}.png' for i in range(8)}
    assert len(reported) == 8 and all(Path(path).is_file() for pair in reported for path in pair)
    (other / 'classes.txt').write_text('x\nz\ny\n')
    with pytest.raises(ValueError, match='other classes than'):
        job(test=str(other))
    with pytest.raises(ValueError, match='no images to train on: all of them also'):
        job(test=str(data))


def test_names_of_classes_beside_both_folders_but_not_further_up(tmp_path):
    draw_masks(tmp_path / 'data', lambda i: HALVES)
    (tmp_path / 'data/classes.txt').write_text('x\ny\n')
    request = Request(str(tmp_path / 'data/images'), '', labels=str(tmp_path / 'data/masks'))
    assert segmentation._class_names(request, str(tmp_path / 'data'))[1] == ['x', 'y']
    assert segmentation._class_names(request, str(tmp_path)) is None
    (tmp_path / 'data/masks/classes.txt').write_text('v\nw\n')
    assert segmentation._class_names(request, str(tmp_path / 'data'))[1] == ['v', 'w']


def test_a_crop_that_holds_no_whole_patches_is_refused(masks, encoder, tmp_path):
    job = segmentation.SegmentationJob(Request(str(masks), str(tmp_path), encoder, image_size=30), 'cpu')
    with pytest.raises(ValueError, match='image_size=30 .* such as 32'):
        job.plan(find_encoder(encoder), Choice(20, ''))


def test_images_pretrained_on_are_counted_by_content_for_each_start(monkeypatch, tmp_path):
    for name in 'abc':
        (tmp_path / name).write_text(name)
    (tmp_path / 'a2').write_text('a')

    class FakeJob:
        def measuring_images(self):
            return dict(selection=[str(tmp_path / 'a')], report=[str(tmp_path / name) for name in 'bc'])

    monkeypatch.setattr(dense, 'trained_on', lambda run: [str(tmp_path / name) for name in ('a2', 'b')])
    start = SimpleNamespace(kind='run', name='runs/a')
    way = dense.Way('runs/a', SimpleNamespace(start=start), '', '', {})
    lines = dense._seen(way, FakeJob())
    assert len(lines) == 2 and all(line.startswith('WARNING: 1 of the images that') for line in lines)
    assert dense._seen(way._replace(overrides={'pretrained': None}), FakeJob()) == []


@pytest.mark.slow
def test_a_random_start_beside_it(segmented, encoder, tmp_path):
    request = Request(segmented[0].data, str(tmp_path / 'out'), encoder, compare='random', **FAST)
    results = segmentation.run(request).results
    assert [stage.name for stage in results.stages] == ['UperNet', 'UperNet, random start']
    best = max(results.stages, key=lambda stage: stage.selection)
    assert best.kept and sum(stage.kept for stage in results.stages) == 1
    assert [row['name'] for row in results.table] == [encoder, 'random']
    assert results.stages[0].report == pytest.approx(segmented[1].results.stages[0].report)  # of the same seed


def test_other_images_are_another_fine_tuning(masks, encoder, tmp_path):
    root, out = tmp_path / 'data', tmp_path / 'out'
    shutil.copytree(masks, root)
    segmentation.SegmentationJob(Request(str(root), str(out), encoder, **FAST), 'cpu')
    for folder in ('images', 'annotations'):
        (root / folder / 'training/000.png').unlink()
    segmentation.SegmentationJob(Request(str(root), str(out), encoder, **FAST), 'cpu')  # nothing has begun
    (out / 'finetune.py').write_text('')
    for folder in ('images', 'annotations'):
        (root / folder / 'training/001.png').unlink()
    with pytest.raises(ValueError, match=r'it had 11 \+ 3 \+ 3 .* now there are 10 \+ 3 \+ 3'):
        segmentation.SegmentationJob(Request(str(root), str(out), encoder, **FAST), 'cpu')


def test_without_a_name_public_weights_start_or_it_is_said_that_they_do_not(monkeypatch, capsys):
    def offline(model, sizes):
        raise FileNotFoundError(f'{model} is not here (fetch it)')

    monkeypatch.setattr(encoders, 'find_start', offline)
    assert find_encoder(None).kind == 'random'
    assert 'dinov2.lvd142m is not here): ' in capsys.readouterr().out


def draw_masks(root, mask_of, count=8, first=0):
    for i in range(first, first + count):
        for folder, pixels in (('images', np.full((32, 32, 3), i, np.uint8)), ('masks', mask_of(i))):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / folder / f'{i}.png')
    return root


HALVES = np.repeat(np.array([0, 1], np.uint8), 16)[:, None].repeat(32, 1)
FLAWS = {
    'another size': (lambda i: HALVES[:, :30] if i == 5 else HALVES, MaskError, '30 x 32'),
    'colours': (lambda i: np.dstack([HALVES] * 3), MaskError, 'colour image'),
    'one class': (lambda i: HALVES * 0, MaskError, 'one class'),
    'nothing but 255': (lambda i: HALVES * 0 + 255, MaskError, 'nothing to learn'),
}


@pytest.mark.parametrize('flaw', FLAWS)
def test_masks_that_cannot_be_used_end_the_call_before_training(flaw, tmp_path, monkeypatch):
    mask_of, error, words = FLAWS[flaw]
    draw_masks(tmp_path / 'data', mask_of)
    with pytest.raises(error, match=words):
        segmentation.run(Request(str(tmp_path / 'data'), str(tmp_path / 'out'), 'vit-tiny', **FAST))
    assert not (tmp_path / 'out/segmentation').exists()


def test_a_class_stored_as_255(tmp_path):
    draw_masks(tmp_path / 'data', lambda i: HALVES * 255)
    job = segmentation.SegmentationJob(Request(str(tmp_path / 'data'), str(tmp_path / 'out'), **FAST), 'cpu')
    assert (job.classes.names, job.classes.label_map) == (['0', '255'], {255: 1})
    rows = job.class_rows([50.0, float('nan')])
    assert rows[1] == dict(name='255', images=4, report=2, IoU=None)


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(seeds=3), 'seeds=3'),
        (dict(per_class=5), 'per_class=5 is for classification'),
        (dict(balance='weights'), "balance='weights'"),
    ],
)
@pytest.mark.parametrize('module', [segmentation, detection])
def test_arguments_of_classification_are_refused(module, options, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        module.run(Request('data', str(tmp_path), **options))


def test_after_quick_the_full_training_is_a_second_stage(masks, encoder, tmp_path, monkeypatch):
    ran, kept = [], []

    def train(way, job, out):
        folder = Path(way.work_dir).relative_to(out)
        ran.append((Path(way.config).name, str(folder), load_config(way.config).model.decode_head.type))
        return Stage(job.model, job.metric, 50.0, 50.0, work_dir=str(folder)), []

    monkeypatch.setattr(dense, '_run', train)
    monkeypatch.setattr(dense, '_keep', lambda results, *_: kept.append([stage.name for stage in results.stages]))
    for quick in (True, False):
        segmentation.run(Request(str(masks), str(tmp_path / 'out'), encoder, quick=quick, **FAST))
    assert [(config, folder) for config, folder, _ in ran] == [
        ('quick.py', 'segmentation/linear_pretrained'), ('finetune.py', 'segmentation/pretrained')
    ]  # fmt: skip
    assert ran[0][2] != ran[1][2]
    linear = 'linear layer, frozen encoder'
    assert kept == [[linear], [linear, 'UperNet']]


@pytest.mark.slow
def test_quick_trains_a_linear_layer_alone(masks, encoder, tmp_path):
    request = Request(str(masks), str(tmp_path / 'out'), encoder, quick=True, **FAST)
    done = segmentation.run(request)
    assert done.results.stages[0].name == 'linear layer, frozen encoder' and done.results.stages[0].report > 0
    before = find_encoder(encoder).start.encoder.state_dict()
    after = torch.load(done.checkpoint, weights_only=False)['state_dict']
    for name in ('blocks.3.mlp.fc2.weight', 'patch_embed.proj.weight'):
        torch.testing.assert_close(after[f'backbone.{name}'], before[name])
    results = Results.read(request.out)
    results.finished = False  # as `finetune` does where `quick` is left out
    results.write(request.out)
    full = segmentation.run(Request(str(masks), str(tmp_path / 'out'), encoder, **FAST))
    assert full.results.finished and [stage.name for stage in full.results.stages] == [
        'linear layer, frozen encoder', 'UperNet'
    ]  # fmt: skip
    best = max(full.results.stages, key=lambda stage: stage.selection)
    assert best.kept and of_the_test_loop(request.out, 'mIoU') == pytest.approx(best.report, abs=0.01)
    with pytest.raises(ValueError, match='none for detection'):
        detection.run(Request(str(masks), str(tmp_path / 'det'), encoder, quick=True))


# ------------------------------------------------------------------------------------------------------------ detection


@pytest.mark.slow
def test_boxes_alone_become_a_faster_rcnn_whose_number_is_that_of_the_test_loop(boxes, encoder, tmp_path):
    request = Request(str(boxes), str(tmp_path / 'out'), encoder, image_size=48, **dict(FAST, epochs=4))
    done = detection.run(request)
    stage = done.results.stages[0]
    assert done.results.counts == dict(fit=9, selection=3, report=3, classes=2)
    assert (stage.name, stage.metric, stage.measures) == ('Faster R-CNN', 'box AP', {})
    trained = open_trained(request.out)
    assert (trained.task, trained.classes) == ('detection', ['disc', 'square'])
    assert not trained.build().roi_head.with_mask
    ours = of_the_test_loop(request.out, 'coco/bbox_mAP')
    assert ours == pytest.approx(stage.report / 100, abs=0.001)
    assert [row['name'] for row in done.results.per_class] == ['disc', 'square']
    assert Path(request.out, 'detection/predictions.png').is_file()


def test_a_drawn_split_has_all_objects_once(boxes, tmp_path):
    job = detection.DetectionJob(Request(str(boxes / 'annotations/all.json'), str(tmp_path), 'vit-tiny'), 'cpu')
    whole = json.loads((boxes / 'annotations/all.json').read_text())
    found = [json.loads(Path(path).read_text()) for path in job.files.values()]
    for part in ('images', 'annotations'):
        assert sorted(entry['id'] for content in found for entry in content[part]) == [e['id'] for e in whole[part]]
    for content in found:
        ids = {image['id'] for image in content['images']}
        assert {annotation['image_id'] for annotation in content['annotations']} == ids


def test_outlines_become_a_mask_rcnn_and_parts_stay(tmp_path):
    root = det_harness.make_coco(tmp_path / 'coco', 6, 4)
    job = detection.DetectionJob(Request(str(root), str(tmp_path / 'out'), 'vit-tiny'), 'cpu')
    assert job.model == 'Mask R-CNN' and job.counts == dict(fit=6, selection=2, report=2, classes=2)
    assert job.files['fit'] == str(root / 'annotations/instances_train2017.json')  # as it is
    base, chosen = job.plan(find_encoder('vit-tiny'), Choice(40, ''))
    for steps in (3, 30, 3000):  # a warm-up of less than two steps ends before it begins
        warmup = job.plan(find_encoder('vit-tiny'), Choice(steps, ''))[1]['warmup_epochs'].value
        assert (warmup == 0) == (steps == 3) and (not warmup or warmup * job.epoch >= 2)
    assert chosen['image_size'].value == 48 and base.endswith('vit-tiny_folder_mask-rcnn')


def test_small_objects_are_said(tmp_path):
    root = det_harness.make_coco(tmp_path / 'coco', 6, 4)
    content = det_harness.read(root)
    for annotation in content['annotations']:
        annotation['bbox'][2:] = [5.0, 5.0]
    det_harness.write(root, 'train2017', content)
    job = detection.DetectionJob(Request(str(root), str(tmp_path / 'out'), 'vit-tiny'), 'cpu')
    size = job.plan(find_encoder('vit-tiny'), Choice(40, ''))[1]['image_size']
    assert 'a quarter of the objects has sides below 5' in size.reason and '--image-size' in size.reason


def test_precisions_belong_to_their_classes_whatever_the_ids(tmp_path):
    """The detector finds each disc and no square; the ids of the file descend."""
    from pycocotools.coco import COCO

    objects = [dict(id=i + 1, image_id=1, category_id=(9, 4)[i], bbox=[20 * i, 0, 10, 10], area=100, iscrowd=0)
               for i in range(2)]  # fmt: skip
    truth = COCO()
    categories = [dict(id=9, name='disc'), dict(id=4, name='square')]
    truth.dataset = dict(images=[dict(id=1, width=48, height=48)], annotations=objects, categories=categories)
    truth.createIndex()
    truth.get_cat_ids = lambda cat_names: truth.getCatIds(cat_names)
    result = dict(img_id=1, bboxes=np.array([[0, 0, 10, 10.0]]), scores=np.array([0.9]), labels=np.array([0]))
    metric = SimpleNamespace(_coco_api=truth, results=[(None, result)])
    found = detection._precisions(metric, ['disc', 'square'], {'bbox'})['bbox']
    assert found.per_class == pytest.approx([100, 0]) and found.value == pytest.approx(50)


def test_an_image_of_both_files_is_not_fitted_on(tmp_path):
    root = det_harness.make_coco(tmp_path / 'coco', 6, 4)
    shutil.copy(root / 'val2017/000.png', root / 'train2017/000.png')
    job = detection.DetectionJob(Request(str(root), str(tmp_path / 'out'), 'vit-tiny'), 'cpu')
    assert job.counts['fit'] == 5 and '1 images that are in two parts' in ' '.join(job.notes)
    assert len(json.loads(Path(job.files['fit']).read_text())['images']) == 5


def test_files_that_count_from_the_same_number_are_joined(tmp_path):
    root = det_harness.make_coco(tmp_path / 'a', 6, 4)
    job = detection.DetectionJob(Request(str(root), str(tmp_path / 'out'), 'vit-tiny'), 'cpu')
    first, second = job.parts.report, job.parts.fit
    job.parts = job.parts._replace(report=[*first, *second])
    joined = json.loads(Path(job._write('report')).read_text())
    images = {image['id']: image['file_name'] for image in joined['images']}
    assert len(images) == len(joined['images']) == 8
    assert len({entry['id'] for entry in joined['annotations']}) == len(joined['annotations']) == 16
    assert {entry['image_id'] for entry in joined['annotations']} == set(images)


def coco_flaw(root, flaw):
    content = det_harness.read(root)
    if flaw == 'no objects':
        content['annotations'] = []
    elif flaw == 'broken outline':
        content['annotations'][0]['segmentation'] = [[1, 1, 2, 2]]
    elif flaw == 'another size':
        content['images'][0]['width'] = 50
    elif flaw == 'no image':
        (root / 'train2017/000.png').unlink()
    det_harness.write(root, 'train2017', content)


@pytest.mark.parametrize(
    'flaw, error, words',
    [
        ('no objects', (AnnotationError, FileNotFoundError), 'no annotation|no json'),
        ('broken outline', AnnotationError, 'no usable outline'),
        ('another size', AnnotationError, '48 x 48 pixels'),
        ('no image', AnnotationError, 'not there'),
    ],
)
def test_annotations_that_cannot_be_used_end_the_call_before_training(flaw, error, words, encoder, tmp_path):
    root = det_harness.make_coco(tmp_path / 'coco', 6, 4)
    coco_flaw(root, flaw)
    with pytest.raises(error, match=words):
        detection.run(Request(str(root), str(tmp_path / 'out'), encoder, **FAST))
    assert not (tmp_path / 'out/detection').exists()
