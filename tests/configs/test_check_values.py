"""Wrong values of a config's keys are errors before anything is built: the key, what it takes, what came."""

import re
import types
from numbers import Real
from typing import Any, Sequence, Union, get_args, get_origin

import pytest
from config_harness import CONFIGS
from config_harness import config as load
from mmengine.config import Config

import mmmim
from mmmim.config.check_values import BOUNDS, _registered, check_values, fits, hints_of, in_words

MAE = 'configs/mae/vit-tiny_cifar10.py'


def refused(overrides: dict, config: str = MAE) -> str:
    cfg = load(config)
    cfg.merge_from_dict(overrides)
    with pytest.raises((TypeError, ValueError)) as error:
        check_values(cfg)
    return str(error.value)


def test_every_config_passes():
    for name in CONFIGS:
        check_values(load(name))


@pytest.mark.parametrize(
    'key, value, takes',
    [
        ('model.mask_ratio', [0.5, 0.75], 'a number'),
        ('model.mask_ratio', '0.75', 'a number'),
        ('model.mask_ratio', True, 'a number'),
        ('model.mask_ratio', 1.5, 'from 0 to 1'),
        ('model.mask_ratio', float('nan'), 'from 0 to 1'),
        ('model.masking', 3, 'a string or None'),
        ('model.mask_options', dict(unit='2'), 'a whole number'),
        ('model.mask_options', dict(size=2), 'unit'),
        ('model.backbone.img_size', -32, 'at least 1'),
        ('model.backbone.img_size', [32, 32, 3], 'a whole number or a list of 2 whole numbers'),
        ('model.backbone.img_size', '32', 'a whole number'),
        ('model.backbone.arch', ['base'], 'a string or a dict'),
        ('model.backbone.arch', dict(embed_dim='192', depth=2, num_heads=3), 'a whole number'),
        ('model.backbone.arch', dict(embed_dim=192, depth=-2, num_heads=3), 'not negative'),
        ('model.backbone.compiled', 1, 'True or False'),
        ('model.neck.depth', 1.5, 'a whole number'),
        ('model.target.norm_pix', 'no', 'True or False'),
        ('model.target.norm_pix', 0, 'True or False'),
        ('model.data_preprocessor.mean', '123', 'a list of numbers'),
        ('model.data_preprocessor.std', [58, None, 57], 'a list of numbers'),
        ('train_dataloader.dataset.pipeline.1.size', '32', 'a whole number'),
        ('train_dataloader.dataset.pipeline.1.size', 0, 'above 0'),
        ('train_dataloader.num_workers', -1, 'not negative'),
        ('train_dataloader.num_workers', '4', 'a whole number'),
        ('train_dataloader.persistent_workers', 'False', 'True or False'),
        ('total_batch_size', '64', 'a whole number'),
        ('total_batch_size', 0, 'at least 1'),
        ('base_lr', '1e-3', 'a number'),
        ('base_lr', -1e-3, 'not negative'),
        ('max_epochs', 2.5, 'a whole number'),
        ('warmup_epochs', [1], 'a number'),
        ('randomness.seed', '1', 'a whole number'),
        ('optim_wrapper.optimizer.weight_decay', '0.05', 'a number'),
        ('optim_wrapper.optimizer.betas', 0.95, 'a list of 2 numbers'),
        ('default_hooks.checkpoint.interval', '1', 'a whole number'),
        ('default_hooks.logger.interval', 'often', 'a whole number'),
    ],
)
def test_the_key_what_it_takes_and_what_came(key, value, takes):
    message = refused({key: value})
    shown = next(iter(value.values())) if isinstance(value, dict) and 'arch' not in key else value
    assert key in message and takes in message
    assert isinstance(value, dict) or repr(shown) in message


SEG, DET = (f'configs/downstream/{name}.py' for name in (
    'segmentation/vit-tiny_folder_upernet', 'detection/vit-tiny_folder_mask-rcnn'
))  # fmt: skip
FACES = 'configs/downstream/landmarks/vit-tiny_faces_upernet.py'
CLS = 'configs/downstream/classification/vit-b_finetune_100e.py'


@pytest.mark.parametrize(
    'config, key, value, takes',
    [
        (SEG, 'crop_size', '64', 'a whole number, a list of 2 whole numbers or None'),
        (SEG, 'crop_size', -64, 'at least 1'),
        (SEG, 'crop_size', [64, 0], 'at least 1'),
        (SEG, 'max_iters', -5, 'at least 1'),
        (SEG, 'max_iters', 100.0, 'a whole number'),
        (SEG, 'max_iters', '100', 'a whole number'),
        (SEG, 'warmup_iters', -1, 'not negative'),
        (SEG, 'tta', 'no', 'True or False'),
        (SEG, 'tta_ratios', 1.5, 'a list of numbers'),
        (SEG, 'reduce_zero_label', 'no', 'True or False'),
        (SEG, 'classes', 'road', 'a list of strings'),
        (SEG, 'num_classes', '3', 'a whole number'),
        (SEG, 'scale', [64, -1], 'at least 1'),
        (DET, 'skip_broken', 'no', 'True or False'),
        (DET, 'image_size', True, 'a whole number'),
        (DET, 'milestones', [-1], 'at least 1'),
        (FACES, 'image_size', '64', 'a whole number'),
        (FACES, 'ema_decay', 2, 'from 0 to 1'),
        (CLS, 'ema_decay', '0.9', 'a number'),
        (CLS, 'pretrained', 3, 'a string'),
        (MAE, 'param_scheduler', 'x', 'a dict, a list of dicts or None'),
        (MAE, 'param_scheduler.1.eta_min', 'x', 'a number'),
        (MAE, 'param_scheduler.1.T_max', -50, 'above 0'),
        (MAE, 'param_scheduler.0.by_epoch', 'no', 'True or False'),
    ],
)
def test_keys_at_the_top_of_a_tasks_config_too(config, key, value, takes):
    message = refused({key: value}, config)
    assert message.startswith(key) and takes in message


def test_another_toolboxs_variables_of_such_names_are_its_own():
    model = dict(type='mmseg.EncoderDecoder', backbone=dict(type='ResNetV1c'))
    check_values(Config(dict(default_scope='mmseg', model=model, crop_size='512', num_classes='all', tta='later')))


def test_none_is_said_without_a_kind():
    message = refused({'model.mask_ratio': None})
    assert message == 'model.mask_ratio=None: it takes a number'
    assert in_words(Union[Sequence, None]) == 'a list or None'


def test_our_parts_in_another_toolbox():
    cfg = Config(dict(default_scope='mmseg', model=dict(type='EncoderDecoder', backbone=dict(type='mmmim.DenseViT'))))
    check_values(cfg)
    cfg.model.backbone.img_size = '512'
    with pytest.raises(TypeError, match="model.backbone.img_size='512': it takes"):
        check_values(cfg)
    cfg.model.backbone.type = 'DenseViT'  # not ours without the scope
    check_values(cfg)


WRONG = {bool: 'yes', int: 1.5, float: '1', str: 7}
# numbers of which negative ones mean something, and those that the class itself checks
MAY_BE_NEGATIVE = set(
    'interval interval_iters interval_minutes max_keep_ckpts val_interval layer clip_layer limit max_images max_masks '
    'subset year version worker_id out_indices global_blocks flip_indices palette label_map '
    'threshold radius margin gamma gamma_delta gamma_max trust_coefficient scale high low ratio shift rotate grow end '
    'contrast_weight pred_weight disc_weight gan_weight image_weight patch_weight coordinate_weight heatmap_weight '
    'part_weights target_weights brightness contrast saturation hue blur_sigma mean scales share levels width resize '
    'default'.split()
)


def numbers_in(hint: Any) -> bool:
    if get_origin(hint) in (Union, types.UnionType) or get_args(hint):
        return any(numbers_in(one) for one in get_args(hint) if one is not Ellipsis)
    return isinstance(hint, type) and issubclass(hint, Real) and hint is not bool


def test_every_argument_of_our_classes_is_annotated_and_its_numbers_are_bounded():
    ours = {name: kind for name, kind in _registered().items() if kind.__module__.startswith('mmmim.')}
    assert len(ours) > 90
    for name, kind in ours.items():
        for key, hint in hints_of(kind).items():
            if hint in WRONG:
                assert not fits(WRONG[hint], hint), (name, key)
            assert not numbers_in(hint) or key in BOUNDS or key in MAY_BE_NEGATIVE, (name, key)
            assert re.search('[a-zA-Z]', in_words(hint))
    assert not MAY_BE_NEGATIVE & set(BOUNDS)


@pytest.mark.parametrize(
    'function, arguments, words',
    [
        (
            mmmim.pretrain,
            dict(data='x', out='y', epochs='3'),
            "epochs='3': it takes a whole number or None, and this is a string",
        ),
        (mmmim.pretrain, dict(data='x', out='y', leave_out='no'), "leave_out='no': it takes True or False"),
        (mmmim.load, dict(model='x', layer=1.5), 'layer=1.5: it takes a whole number, a string or None'),
        (mmmim.load, dict(model=3), 'model=3: it takes a string'),
        (mmmim.embed, dict(model='x', data='y', batch_size='3'), "batch_size='3': it takes a whole number"),
        (mmmim.compare, dict(runs=3), 'runs=3: it takes'),
        (mmmim.compare, dict(layer=3), 'layer=3: it takes a string or None'),
        (mmmim.compare, dict(device=0), 'device=0: it takes a string or None'),
    ],
)
def test_arguments_of_the_calls_are_checked_alike(function, arguments, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        function(**arguments)
