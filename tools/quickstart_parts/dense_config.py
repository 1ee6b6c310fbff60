"""The configs of the dense tasks, which follow from what was pre-trained."""

import os
import os.path as osp
from typing import Any, Dict, Tuple

from mmengine.config import Config
from quickstart_parts.processes import ROOT

from mmmim.apis.folder_split import write_if_changed
from mmmim.apis.plan import Name
from mmmim.config.write import Choice, config_text
from mmmim.models.backbones.dense.base import default_outputs
from mmmim.models.backbones.vit import resolve_architecture
from mmmim.models.patches import to_2tuple

# of the config that is inherited: what differs is written
IMAGE_SIZE, PATCH_SIZE = 96, 8
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
ANCHOR_SCALE, FINEST_SCALE = 4, 20


class LeftOut(ValueError):
    """The encoder that was pre-trained does not fit the task's model."""


def write_task_config(task: str, pretrain_config: str, work_dir: str, data_root: str) -> str:
    """Write ``work_dir/<task>.py``, which inherits ``configs/quickstart/downstream/<task>.py``, and return its path.

    Args:
        task: ``'segmentation'`` or ``'detection'``.
        pretrain_config: The config of pre-training: its encoder's sizes and its images' size and statistics are taken.
        work_dir: That of pre-training, where its ``encoder.safetensors`` is, or is going to be.
        data_root: Of the task's data.

    Raises:
        LeftOut: The model cannot have this encoder.
        ValueError: There is a config that says something else.
    """
    cfg = Config.fromfile(pretrain_config)
    size, patch = _sizes(cfg.model.backbone)
    path = osp.join(work_dir, f'{task}.py')
    choices = {
        'pretrained': Choice(osp.join(work_dir, 'encoder.safetensors'), 'None: random initialisation'),
        **_data(data_root, cfg.train_dataloader.num_workers),
        **(_segmentor if task == 'segmentation' else _detector)(cfg.model.backbone, size, patch),
        **_statistics(cfg.model.get('data_preprocessor') or {}),
    }
    command = (
        f'python tools/train.py {_shown(path)} --work-dir {_shown(osp.join(work_dir, task, "pretrained"))} --resume'
    )
    text = config_text(
        choices,
        f'quickstart/downstream/{task}',
        command,
        f'{task.capitalize()} with the encoder of {_shown(pretrain_config)}; --cfg-options pretrained=None: at random.',
    )
    if osp.exists(path) and open(path, encoding='utf-8').read() != text:
        raise ValueError(
            f'{path} says something else than this call would write: another encoder, or it was edited. '
            f'To run it as it is: {command}. To start anew, remove it and the folder {osp.dirname(path)}/'
            f'{task}'
        )
    write_if_changed(path, text)
    return path


def _sizes(backbone: Any) -> Tuple[int, int]:
    """Sides of the image and of a patch."""
    if str(backbone.type).rpartition('.')[2] != 'MaskedViT':
        raise LeftOut(f'the encoder is a {backbone.type}; configs/downstream has configs for it')
    if backbone.get('in_chans', 3) != 3:
        raise LeftOut(f'the encoder takes {backbone.in_chans} channels, and the scenes have 3')
    size, patch = to_2tuple(backbone.img_size), to_2tuple(backbone.patch_size)
    if size[0] != size[1] or patch[0] != patch[1]:
        raise LeftOut(f'the encoder takes images of {size} in patches of {patch}, which are not square')
    return size[0], patch[0]


def _backbone(backbone: Any, **values: Any) -> Dict[str, Choice]:
    arch = backbone.arch.to_dict() if isinstance(backbone.arch, dict) else backbone.arch
    said = dict(arch=dict(arch, _delete_=True) if isinstance(arch, dict) else arch, **values)
    if not backbone.get('class_token', True):
        said['class_token'] = False
    said.update({key: backbone[key] for key in ('num_class_tokens', 'num_register_tokens') if key in backbone})
    return {
        f'model.backbone.{key}': Choice(value, 'as pre-trained' if key == 'arch' else '') for key, value in said.items()
    }


def _segmentor(backbone: Any, size: int, patch: int) -> Dict[str, Choice]:
    depth = resolve_architecture(backbone.arch)[1]
    if depth < 4:
        raise LeftOut(f'UperNet takes maps from four blocks, and the encoder has {depth}')
    return {
        **_backbone(backbone, patch_size=patch, out_indices=default_outputs(depth)),
        'crop_size': Choice(size, 'the side that was pre-trained'),
        'scale': Choice((4 * size, size), 'long, short side'),
    }


def _detector(backbone: Any, size: int, patch: int) -> Dict[str, Choice]:
    if patch % 2:
        raise LeftOut(f'the pyramid halves the patch, whose side of {patch} px is odd')
    choices = {
        **_backbone(backbone, patch_size=patch, out_indices=(resolve_architecture(backbone.arch)[1] - 1,)),
        'image_size': Choice(size, 'the side that was pre-trained'),
    }
    if (size, patch) != (IMAGE_SIZE, PATCH_SIZE):
        strides, share = [patch // 2, patch, 2 * patch], size / IMAGE_SIZE
        level = dict(featmap_strides=strides, finest_scale=FINEST_SCALE * share)
        # anchors are the same part of the image
        anchors = dict(scales=[ANCHOR_SCALE * share * PATCH_SIZE / patch], strides=strides)
        choices['model.rpn_head.anchor_generator'] = Choice(anchors, '')
        choices.update({f'model.roi_head.{name}_roi_extractor': Choice(level, '') for name in ('bbox', 'mask')})
    return choices


def _statistics(preprocessor: Any) -> Dict[str, Choice]:
    """Mean and variance of pixels, where they are not ImageNet's."""
    return {
        f'model.data_preprocessor.{name}': Choice(list(preprocessor[name]), 'as pre-trained')
        for name, usual in (('mean', MEAN), ('std', STD))
        if list(preprocessor.get(name) or usual) != usual
    }


def _data(root: str, workers: int) -> Dict[str, Choice]:
    loader = dict(num_workers=workers, persistent_workers=workers > 0, dataset=dict(data_root=Name('data_root')))
    return {
        'data_root': Choice(root, ''),
        **{
            f'{name}_dataloader.{key}': Choice(value, '')
            for name in ('train', 'val', 'test')
            for key, value in loader.items()
        },
    }


def _shown(path: str) -> str:
    """As seen from the checkout."""
    relative = osp.relpath(path, ROOT)
    return osp.abspath(path) if relative.startswith(os.pardir) else relative
