"""The configs of the quickstart's dense tasks follow from what was pre-trained, and their models take its encoder."""

import ast
import sys

import pytest
import torch
from harness import ROOT
from mmengine.config import Config

pytest.importorskip('mmseg')
sys.path.insert(0, str(ROOT / 'tools'))
from quickstart_parts.dense_config import LeftOut, write_task_config  # noqa: E402

from mmmim.checkpoint import export_encoder  # noqa: E402
from mmmim.config.load import load_config  # noqa: E402
from mmmim.config.prepare import set_up_scope  # noqa: E402
from mmmim.config.segmentation import settle_segmentor  # noqa: E402
from mmmim.registry import MODELS  # noqa: E402

SMALL = dict(embed_dim=48, depth=4, num_heads=3)


def pretrain_config(folder, **backbone):
    """A config of pre-training with another backbone, as the quickstart writes it for its overrides."""
    cfg = Config.fromfile(str(ROOT / 'configs/quickstart/mae.py'))
    given = {**cfg.model.backbone.to_dict(), **backbone}
    cfg.model.backbone = given
    path = folder / 'pretrain.py'
    cfg.dump(str(path))
    return str(path)


def written(folder, task='segmentation', **backbone):
    return write_task_config(task, pretrain_config(folder, **backbone), str(folder), 'data/scenes/ade')


@pytest.mark.parametrize(
    'backbone',
    [
        dict(arch=SMALL, img_size=32, patch_size=4),
        dict(arch=SMALL, img_size=32, patch_size=8, num_class_tokens=2, num_register_tokens=2),
        dict(arch='tiny', img_size=64, patch_size=16),
        dict(arch=dict(SMALL, mlp_ratio=2.0), img_size=32, patch_size=8, class_token=False),
    ],
    ids=str,
)
def test_a_segmentor_takes_the_encoder(tmp_path, backbone):
    path = written(tmp_path, **backbone)
    pretrained = MODELS.build(dict(backbone, type='mmmim.MaskedViT'))
    export_encoder(pretrained.state_dict(), str(tmp_path / 'encoder.safetensors'), {})
    cfg = load_config(path)
    set_up_scope(cfg)
    settle_segmentor(cfg)
    model = MODELS.build(cfg.model)
    model.init_weights()
    own = model.backbone.state_dict()
    for name, value in pretrained.state_dict().items():
        if name.split('.')[0] != 'norm':
            assert torch.equal(own[name], value), name
    size = backbone['img_size']
    assert cfg.model.data_preprocessor.size == (size, size) and cfg.model.test_cfg.crop_size == (size, size)
    logits = model.eval()(torch.zeros(1, 3, size, size), mode='tensor')
    assert logits.shape[1] == 14 and torch.isfinite(logits).all()


def test_it_can_be_read_and_says_how_to_run_it(tmp_path):
    path = written(tmp_path, arch=SMALL)
    text = open(path).read()
    docstring = ast.get_docstring(ast.parse(text))
    assert 'tools/train.py' in docstring and 'pretrained=None' in docstring and text.count('\n') < 50
    assert written(tmp_path, arch=SMALL) == path and open(path).read() == text


def test_pixel_statistics_are_carried(tmp_path):
    pretrain = pretrain_config(tmp_path, arch=SMALL)
    with open(pretrain, 'a') as file:
        file.write('\nmodel.update(data_preprocessor=dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0]))\n')
    cfg = load_config(write_task_config('segmentation', pretrain, str(tmp_path), 'data'))
    assert cfg.model.data_preprocessor.mean == [1.0, 2.0, 3.0] and cfg.model.data_preprocessor.std == [4.0, 5.0, 6.0]


def test_an_edited_config_is_not_overwritten(tmp_path):
    path = written(tmp_path, arch=SMALL)
    with open(path, 'a') as file:
        file.write('max_iters = 900\n')
    with pytest.raises(ValueError, match='segmentation.py says something else.*To run it as it is: python'):
        written(tmp_path, arch=SMALL)
    assert open(path).read().endswith('max_iters = 900\n')


@pytest.mark.parametrize(
    'task, backbone, reason',
    [
        ('segmentation', dict(arch=dict(SMALL, depth=3)), 'four blocks, and the encoder has 3'),
        ('segmentation', dict(in_chans=1), 'takes 1 channels'),
        ('segmentation', dict(img_size=(96, 64)), 'not square'),
        ('segmentation', dict(type='ConvViT'), 'is a ConvViT'),
        ('detection', dict(img_size=99, patch_size=9), '9 px is odd'),
    ],
    ids=lambda value: str(value)[:40],
)
def test_encoders_that_do_not_fit_are_left_out_with_a_reason(tmp_path, task, backbone, reason):
    with pytest.raises(LeftOut, match=reason):
        written(tmp_path, task, **backbone)
    assert not (tmp_path / f'{task}.py').exists()


@pytest.mark.parametrize('size, patch', [(96, 8), (64, 16)])
def test_a_detector_takes_the_encoder(tmp_path, size, patch):
    pytest.importorskip('mmdet')
    from mmmim.config.detection import settle_detector

    cfg = load_config(written(tmp_path, 'detection', arch=SMALL, img_size=size, patch_size=patch))
    cfg.pretrained, cfg.classes = None, ['ball', 'basket']
    set_up_scope(cfg)
    settle_detector(cfg, with_data=False)
    model = MODELS.build(cfg.model).eval()
    assert model.backbone.img_size == (size, size) and model.backbone.out_indices == (3,)
    maps = model.extract_feat(torch.zeros(1, 3, size, size))
    assert [size // m.shape[-1] for m in maps] == [patch // 2, patch, 2 * patch]
    # the anchors are the same parts of the image whatever the patch
    generator = model.rpn_head.prior_generator
    assert [stride[0] for stride in generator.strides] == [patch // 2, patch, 2 * patch]
    sides = [(anchors[0, 2] - anchors[0, 0]).item() * 0.5**0.5 / size for anchors in generator.base_anchors]
    assert sides == pytest.approx([1 / 6, 1 / 3, 2 / 3], rel=1e-3)
    for extractor in (model.roi_head.bbox_roi_extractor, model.roi_head.mask_roi_extractor):
        assert extractor.featmap_strides == [patch // 2, patch, 2 * patch]
