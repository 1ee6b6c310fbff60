"""The classifier of a config as a plain timm model, with timm's own mixing, loss and layer decay."""

from functools import partial
from typing import Any, Callable, Tuple

import torch
from mmengine.config import Config
from mmengine.registry import OPTIMIZERS
from torch import Tensor, nn

from ..registry import MODELS
from .timing import PhaseTimer


def is_classifier(cfg: Config) -> bool:
    """Whether the model is mmpretrain's classifier with our backbone."""
    model = cfg.get('model') or {}
    return str(model.get('type')).rpartition('.')[2] == 'ImageClassifier'


def timm_model(cfg: Config) -> nn.Module:
    """timm's ``VisionTransformer`` with the sizes of a settled config.

    Raises:
        ValueError: The classifier has parts that timm's does not have.
    """
    from timm.models.vision_transformer import VisionTransformer

    with torch.device('meta'):
        encoder, neck = MODELS.build(dict(cfg.model.backbone, init_cfg=None)), MODELS.build(cfg.model.neck)
    if encoder.frozen or isinstance(neck.norm, nn.BatchNorm1d) or encoder.mask_token is not None:
        raise ValueError(
            '--peers timm compares fine-tuning of the whole model; the config trains a part of it, or has '
            'a batch norm or mask tokens: leave --peers out'
        )
    mean = neck.pool == 'mean'
    if mean != isinstance(neck.norm, nn.LayerNorm) or mean == isinstance(encoder.norm, nn.LayerNorm):
        raise ValueError(
            '--peers timm needs the norm where timm has it: after the mean of the patches, or before the '
            'class token is taken'
        )
    model = VisionTransformer(
        img_size=encoder.img_size,
        patch_size=encoder.patch_size,
        in_chans=encoder.in_chans,
        num_classes=cfg.model.head.num_classes,
        global_pool='avg' if mean else 'token',
        embed_dim=encoder.embed_dim,
        depth=len(encoder.blocks),
        num_heads=encoder.blocks[0].attn.num_heads,
        mlp_ratio=encoder.blocks[0].mlp.fc1.out_features / encoder.embed_dim,
        class_token=encoder.cls_token is not None,
        drop_path_rate=cfg.model.backbone.get('drop_path_rate', 0.0),
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    model.pos_embed.requires_grad = False  # fixed sine-cosine positions, as ours and as in MAE
    return model


def timm_step(cfg: Config, dtype: torch.dtype, timer: PhaseTimer) -> Callable[[Any], Any]:
    """A training step as a timm script has it: normalise, mix, forward, backward, the config's optimizer."""
    from timm.optim import param_groups_layer_decay

    device, model = timer.device, timm_model(cfg).to(timer.device).train()
    statistics = [
        torch.tensor(cfg.model.data_preprocessor[key], device=device).view(1, -1, 1, 1) for key in ('mean', 'std')
    ]
    optimizer_cfg = cfg.optim_wrapper.optimizer
    groups = param_groups_layer_decay(
        model,
        weight_decay=optimizer_cfg.get('weight_decay', 0.0),
        no_weight_decay_list=model.no_weight_decay(),
        layer_decay=cfg.optim_wrapper.get('paramwise_cfg', {}).get('layer_decay_rate', 1.0),
    )
    for group in groups:
        group['lr'] = optimizer_cfg.lr * group['lr_scale']
    optimizer = OPTIMIZERS.build(dict(optimizer_cfg, params=groups))
    criterion = _Criterion(cfg)

    def step(batch: dict) -> None:
        images = batch['inputs'].to(device, non_blocking=True)
        labels = torch.cat([sample.gt_label for sample in batch['data_samples']]).to(device, non_blocking=True)
        images = (images.float() - statistics[0]) / statistics[1]
        images, targets = criterion.mix(images, labels)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = criterion.loss(model(images), targets)
        with timer.phase('backward'):
            loss.backward()
        with timer.phase('optimizer'):
            optimizer.step()
            optimizer.zero_grad()

    return step


class _Criterion:
    """Cross-entropy against mixed labels where the config mixes, else against labels that are only smoothed."""

    def __init__(self, cfg: Config) -> None:
        from timm.data.mixup import Mixup
        from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy

        smoothing = cfg.model.head.loss.get('label_smooth_val', 0.0)
        augments = {a['type']: a['alpha'] for a in (cfg.model.get('train_cfg') or {}).get('augments', [])}
        self.mixup = (
            Mixup(
                augments.get('Mixup', 0.0),
                augments.get('CutMix', 0.0),
                label_smoothing=smoothing,
                num_classes=cfg.model.head.num_classes,
            )
            if augments
            else None
        )
        self.loss = SoftTargetCrossEntropy() if augments else LabelSmoothingCrossEntropy(smoothing)

    def mix(self, images: Tensor, labels: Tensor) -> Tuple[Tensor, Tensor]:
        """Images and what they are to be recognised as; timm pairs a batch from both ends, so it must be even."""
        return (images, labels) if self.mixup is None else self.mixup(images, labels)
