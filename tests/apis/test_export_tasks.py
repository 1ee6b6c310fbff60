"""mmmim.export of models of a task: classes and masks are those that the model itself predicts."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from PIL import Image

import mmmim
from mmmim.apis.export import _trained
from mmmim.apis.exporting.graphs import places
from mmmim.apis.trained import open_trained
from mmmim.config.prepare import set_up_scope, settle
from mmmim.registry import MODELS

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'downstream'))
import cls_harness  # noqa: E402
import det_harness  # noqa: E402
import seg_harness  # noqa: E402
from test_export_encoders import run_example  # noqa: E402

pytestmark = pytest.mark.runs
LINEAR = dict(
    type='FCNHead',
    in_channels=32,
    channels=32,
    in_index=0,
    num_convs=0,
    concat_input=False,
    num_classes=3,
    align_corners=False,
    loss_decode=dict(type='CrossEntropyLoss'),
)


def keep(cfg, folder, classes):
    """The folder of a model that was fine-tuned, with random weights in which everything counts."""
    folder.mkdir(parents=True)
    cfg.classes = classes
    cfg.dump(str(folder / 'model.py'))
    cfg = Config.fromfile(str(folder / 'model.py'))
    set_up_scope(cfg)
    settle(cfg, with_data=False)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    torch.save(dict(state_dict=model.state_dict(), meta={}, message_hub={}), folder / 'model.pth')
    return folder


def predict(folder, paths):
    """What the model says of files, by its own test pipeline."""
    trained = open_trained(str(folder))
    model = trained.build().cpu()
    steps = [step for step in trained.cfg.test_dataloader.dataset.pipeline if step['type'] != 'LoadAnnotations']
    run = Compose(steps)
    samples = [run(dict(img_path=str(path), sample_idx=0, img_id=0, seed=0, replaced=[])) for path in paths]
    with torch.no_grad():
        return [model.test_step(pseudo_collate([sample]))[0] for sample in samples]


@pytest.fixture(scope='module')
def classifier(tmp_path_factory, image_root):
    root = tmp_path_factory.mktemp('export_cls')
    return keep(cls_harness.make_classifier_config(root / 'w', image_root), root / 'model', ['cat', 'dog'])


def test_a_classifier_with_its_classes(classifier, image_root, tmp_path):
    done = mmmim.export(str(classifier), str(tmp_path / 'model.onnx'))
    assert done.difference <= 1e-4 and done.batch == 5
    pictures = sorted(image_root.rglob('*.jpg'))[::8]
    expected = predict(classifier, pictures)
    names = [['cat', 'dog'][int(sample.pred_label)] for sample in expected]
    assert len(set(names)) == 2
    lines = [line.split('\t') for line in run_example(done.example, pictures, tmp_path).splitlines()]
    assert [name for _, name, _ in lines] == names
    scores = np.array([float(score) for _, _, score in lines])
    # the JPEGs are decoded at half their size in training, which Pillow is not asked for
    np.testing.assert_allclose(scores, [float(sample.pred_score.max()) for sample in expected], atol=0.02)
    session = onnxruntime.InferenceSession(done.path)
    assert json.loads(session.get_modelmeta().custom_metadata_map['classes']) == ['cat', 'dog']
    assert session.run(None, {'pixels': np.zeros((1, 3, 16, 16), np.uint8)})[0].sum() == pytest.approx(1, abs=1e-6)


def test_a_file_among_other_configs_is_of_its_task(classifier, tmp_path):
    folder = shutil.copytree(classifier, tmp_path / 'model')
    for name in ('finetune', 'setup'):
        (folder / f'{name}.py').write_text("raise SystemExit('was run')")
    done = mmmim.export(str(folder / 'model.pth'), str(folder / 'other.pt2'))
    assert json.loads(open(done.preprocessing).read())['task'] == 'classification' and not done.notes
    (folder / 'model.py').unlink()
    trained, notes = _trained(str(folder / 'model.pth'), None)
    assert trained is None and 'model.py' in notes[0] and 'encoder alone' in notes[0]


def test_a_config_with_a_mistake_makes_no_encoder_of_a_model(classifier, tmp_path):
    folder = shutil.copytree(classifier, tmp_path / 'model')
    text = (folder / 'model.py').read_text()
    (folder / 'model.py').write_text(text + "\nraise ValueError('a mistake')\n")
    with pytest.raises(ValueError, match='a mistake'):
        mmmim.export(str(folder / 'model.pth'), str(tmp_path / 'a.pt2'))


def test_options_of_another_kind_of_model_are_refused(classifier, tmp_path):
    for options, message in ((dict(layer=1), 'layer: of an encoder'), (dict(image_size=32), 'trained with 16 x 16')):
        with pytest.raises(ValueError, match=message):
            mmmim.export(str(classifier), str(tmp_path / 'a.pt2'), **options)
    assert not list(tmp_path.iterdir())


def test_several_labels_have_probabilities_of_their_own_and_blue_may_come_first(image_root, tmp_path):
    cfg = cls_harness.make_classifier_config(tmp_path / 'w', image_root)
    cfg.model.head = dict(type='MultiLabelLinearClsHead', num_classes=2, in_channels=32)
    cfg.model.data_preprocessor.to_rgb = True  # turns what the pipeline gives
    folder = keep(cfg, tmp_path / 'model', ['cat', 'dog'])
    done = mmmim.export(str(folder), str(tmp_path / 'a.pt2'))
    assert done.difference <= 1e-5
    assert json.loads(open(done.preprocessing).read())['several_labels']
    with torch.no_grad():
        found = torch.export.load(done.path).module()(torch.randint(0, 256, (4, 3, 16, 16)).byte())
    assert (found.sum(1) - 1).abs().min() > 1e-3


# ----------------------------------------------------------------------------------------------------------- segmentors


def segmentor(root, scale, mode='slide'):
    """Of one block and a linear head, with windows of 32 px; and photos of several shapes."""
    cfg = seg_harness.make_seg_config(root / 'w', root / 'data', scale=scale)
    cfg.model.backbone.update(arch=dict(embed_dim=32, depth=1, num_heads=2), out_indices=(0,), relative_positions=None)
    cfg.model.neck, cfg.model.auxiliary_head, cfg.model.decode_head = None, None, dict(LINEAR)
    if mode == 'whole':
        cfg.model.test_cfg = dict(mode='whole')
    photos = root / 'data/images/validation'
    photos.mkdir(parents=True)
    masks = root / 'data/annotations/validation'
    masks.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number, size in enumerate([(64, 96), (96, 64), (64, 96)]):
        for folder, drawn in zip((photos, masks), seg_harness.draw(rng, 96)):
            Image.fromarray(drawn[: size[1], : size[0]]).save(folder / f'{number}.png')
    return keep(cfg, root / 'model', ['ground', 'disc', 'square']), sorted(photos.iterdir())


def test_a_segmentor_of_windows_takes_any_size(tmp_path):
    folder, photos = segmentor(tmp_path, (128, 32))
    done = mmmim.export(str(folder), str(tmp_path / 'model.onnx'))
    assert done.difference <= 1e-4 and done.batch == 3 and "3 images of the model's own" in done.images
    about = json.loads(open(done.preprocessing).read())
    assert about['input']['shape'] == ['batch', 3, 'height', 'width'] and about['preprocessing']['least'] == [32, 32]
    session, model = onnxruntime.InferenceSession(done.path), open_trained(str(folder)).build().cpu()
    for shape in ((1, 3, 32, 32), (4, 3, 75, 33)):
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
        images = model.data_preprocessor(dict(inputs=list(pixels.flip(1))))['inputs']
        with torch.no_grad():
            wanted = model.inference(images, [dict(ori_shape=shape[2:], img_shape=shape[2:])] * len(pixels)).softmax(1)
        mask, probabilities = session.run(None, {'pixels': pixels.numpy()})
        assert mask.dtype == np.uint8 and np.abs(probabilities - wanted.numpy()).max() <= 1e-4
        assert (mask == wanted.argmax(1).numpy()).mean() > 0.999
    run_example(done.example, photos[:2], tmp_path)
    for photo, sample in zip(photos[:2], predict(folder, photos[:2])):
        saved, own = np.asarray(Image.open(f'{photo}.mask.png')), sample.pred_sem_seg.data[0].numpy()
        assert saved.shape == own.shape and len(np.unique(own)) > 1
        assert (saved == own).mean() > 0.95  # the script enlarges the mask, the model its scores


@pytest.mark.parametrize('scale, mode', [((48, 40), 'whole'), pytest.param((32, 32), 'slide', marks=pytest.mark.slow)])
def test_a_segmentor_that_sees_the_whole_image_has_one_size(tmp_path, scale, mode):
    folder, photos = segmentor(tmp_path, scale, mode)
    with pytest.raises(ValueError, match=r'give image_size=\(height, width\).*different ones'):
        mmmim.export(str(folder), str(tmp_path / 'a.pt2'), data=str(photos[0].parent))
    done = mmmim.export(str(folder), str(tmp_path / 'a.pt2'), data=str(photos[0].parent), image_size=(24, 40))
    about = json.loads(open(done.preprocessing).read())
    assert done.difference <= 1e-5 and about['input']['shape'] == ['batch', 3, 24, 40]
    photos[1].unlink()  # the others have one shape
    done = mmmim.export(str(folder), str(tmp_path / 'a.pt2'), data=str(photos[0].parent))
    height, width = json.loads(open(done.preprocessing).read())['input']['shape'][2:]
    assert (height, width) == ((48, 32) if mode == 'whole' else (32, 21))


@pytest.mark.slow
def test_upernet_with_relative_positions(tmp_path):
    root = tmp_path / 'data/images/validation'
    root.mkdir(parents=True)
    Image.fromarray(seg_harness.draw(np.random.default_rng(0), 64)[0]).save(root / '0.png')
    cfg = seg_harness.make_seg_config(tmp_path / 'w', tmp_path / 'data', scale=(128, 32))
    folder = keep(cfg, tmp_path / 'model', ['ground', 'disc', 'square'])
    for out in ('model.onnx', 'model.pt2'):
        assert mmmim.export(str(folder), str(tmp_path / out), data=str(root)).difference <= 1e-4


def test_windows_end_with_the_image():
    assert places(7, 4, 2).tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [3, 4, 5, 6]]
    assert places(4, 4, 2).tolist() == [[0, 1, 2, 3]]


def test_a_detector_is_refused_with_what_to_do(tmp_path):
    det_harness.make_coco(tmp_path / 'data', 1, 1)
    cfg = det_harness.make_det_config(tmp_path / 'w', tmp_path / 'data')
    folder = tmp_path / 'model'
    folder.mkdir()
    cfg.dump(str(folder / 'model.py'))
    torch.save(dict(state_dict={}), folder / 'model.pth')
    with pytest.raises(ValueError, match='a detector is not exported.*mmmim.load'):
        mmmim.export(str(folder), str(tmp_path / 'a.onnx'))
