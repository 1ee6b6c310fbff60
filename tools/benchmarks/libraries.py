"""The same MAE or classifier in other libraries, and training steps of theirs and of ours that can be compared."""

import importlib
import warnings
from functools import partial
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import torch
from mmengine.config import Config
from mmengine.registry import OPTIMIZERS, DefaultScope
from torch import Tensor, nn

from mmmim.deferred import leave_out_multimodal
from mmmim.models.algorithms import MAE
from mmmim.models.layers.blocks import LayerNorm
from mmmim.models.targets import PixelTarget
from mmmim.registry import MODELS
from timing import PhaseTimer, TrainingStep
from workload import build, fit_target

OURS, TIMM = 'mmmim', 'timm'


# ---- the same MAE ----


def plain_mae(cfg: Config) -> MAE:
    """The config's model without its memory, whose sizes the other libraries take.

    Raises:
        ValueError: The model is no plain MAE, so no other library has the same.
    """
    if MODELS.get(cfg.model.type) is not MAE:
        raise ValueError(
            f'--peers compares MAE with the same MAE, but the config trains {cfg.model.type}: leave --peers out'
        )
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    encoder = model.backbone
    differences = dict(
        masking=model.masking.strategy != 'random',
        target=type(model.target) is not PixelTarget,
        loss_on=getattr(model.head, 'loss_on', '') != 'masked',
        mask_tokens=encoder.mask_token is not None,
        class_token=encoder.cls_token is None,
        num_prefix_tokens=encoder.num_prefix_tokens > 1,
        final_norm=not isinstance(encoder.norm, nn.LayerNorm),
        drop_path_rate=any(getattr(block.drop_path1, 'drop_prob', 0) for block in encoder.blocks),
        in_chans=encoder.in_chans != 3,
        img_size=encoder.img_size[0] != encoder.img_size[1],
        patch_size=encoder.patch_size[0] != encoder.patch_size[1],
    )
    found = [name for name, differs in differences.items() if differs]
    if found:
        raise ValueError(
            f'--peers knows plain MAE only, and no peer has the same {", ".join(found)} as this config: '
            'leave --peers out, or compare configs/mae/vit-b_800e.py'
        )
    return model


def _decoder_options(ours: MAE) -> Dict[str, Any]:
    """As mmpretrain and Lightly call them."""
    width, block = ours.neck.decoder_embed.out_features, ours.neck.decoder_blocks[0]
    return dict(
        num_patches=ours.backbone.grid_size[0] * ours.backbone.grid_size[1],
        patch_size=ours.backbone.patch_size[0],
        embed_dim=ours.backbone.embed_dim,
        decoder_embed_dim=width,
        decoder_depth=len(ours.neck.decoder_blocks),
        decoder_num_heads=block.attn.num_heads,
        mlp_ratio=block.mlp.fc1.out_features / width,
    )


def _mmpretrain(ours: MAE) -> nn.Module:
    leave_out_multimodal()
    from mmpretrain.registry import MODELS as THEIRS

    encoder, mask_ratio = ours.backbone, ours.masking.mask_ratio
    size, patch_size = encoder.img_size[0], encoder.patch_size[0]
    arch = dict(
        embed_dims=encoder.embed_dim,
        num_layers=len(encoder.blocks),
        num_heads=encoder.blocks[0].attn.num_heads,
        feedforward_channels=encoder.blocks[0].mlp.fc1.out_features,
    )
    backbone = dict(type='MAEViT', img_size=size, patch_size=patch_size, mask_ratio=mask_ratio, arch=arch)
    neck = dict(type='MAEPretrainDecoder', in_chans=3, **_decoder_options(ours))
    loss = dict(type='PixelReconstructionLoss', criterion='L2')
    head = dict(type='MAEPretrainHead', norm_pix=ours.target.norm_pix, patch_size=patch_size, loss=loss)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return THEIRS.build(dict(type='MAE', backbone=backbone, neck=neck, head=head))


def _hugging_face(ours: MAE) -> nn.Module:
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    encoder, decoder = ours.backbone, ours.neck
    config = ViTMAEConfig(
        image_size=encoder.img_size[0],
        patch_size=encoder.patch_size[0],
        hidden_size=encoder.embed_dim,
        num_hidden_layers=len(encoder.blocks),
        num_attention_heads=encoder.blocks[0].attn.num_heads,
        intermediate_size=encoder.blocks[0].mlp.fc1.out_features,
        decoder_hidden_size=decoder.decoder_embed.out_features,
        decoder_num_hidden_layers=len(decoder.decoder_blocks),
        decoder_num_attention_heads=decoder.decoder_blocks[0].attn.num_heads,
        decoder_intermediate_size=decoder.decoder_blocks[0].mlp.fc1.out_features,
        mask_ratio=ours.masking.mask_ratio,
        norm_pix_loss=ours.target.norm_pix,
        layer_norm_eps=1e-6,
    )
    return ViTMAEForPreTraining(config)


def _timm_vit(encoder: nn.Module, **options: Any) -> nn.Module:
    """timm's ``VisionTransformer`` with the sizes of an encoder of ours."""
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=encoder.img_size,
        patch_size=encoder.patch_size,
        in_chans=encoder.in_chans,
        embed_dim=encoder.embed_dim,
        depth=len(encoder.blocks),
        num_heads=encoder.blocks[0].attn.num_heads,
        mlp_ratio=encoder.blocks[0].mlp.fc1.out_features / encoder.embed_dim,
        **options,
    )


class _Lightly(nn.Module):
    """Lightly has the parts of an MAE; this is how its documentation puts them together."""

    def __init__(self, ours: MAE) -> None:
        super().__init__()
        from lightly.models import modules, utils

        self.utils = utils
        self.patch_size, self.mask_ratio = ours.backbone.patch_size[0], ours.masking.mask_ratio
        self.norm_pix = ours.target.norm_pix
        vit = _timm_vit(ours.backbone, num_classes=0, norm_layer=LayerNorm)
        self.encoder = modules.MaskedVisionTransformerTIMM(vit)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of 1.6: the class will get another name
            self.decoder = modules.MAEDecoderTIMM(**_decoder_options(ours))

    def forward(self, images: Tensor) -> Tensor:
        """The loss of ``[B, 3, H, W]``."""
        tokens = len(images), self.encoder.sequence_length
        kept, masked = self.utils.random_token_mask(tokens, self.mask_ratio, device=images.device)
        encoded = self.decoder.embed(self.encoder.encode(images, idx_keep=kept))
        filled = self.utils.repeat_token(self.decoder.mask_token, tokens).to(encoded.dtype)
        decoded = self.decoder.decode(self.utils.set_at_index(filled, kept, encoded))
        predicted = self.decoder.predict(self.utils.get_at_index(decoded, masked))
        patches = self.utils.patchify(images, self.patch_size)
        target = self.utils.get_at_index(patches, masked - 1)  # the class token is in front
        if self.norm_pix:
            target = self.utils.normalize_mean_var(target, dim=-1)
        return nn.functional.mse_loss(predicted, target)


class Library(NamedTuple):
    """
    Attributes:
        module: What has to be importable.
        install: What pip installs.
        build: The same MAE as one of ours.
        loss: Of the model and images ``[B, 3, H, W]``.
    """

    module: str
    install: str
    build: Callable[[MAE], nn.Module]
    loss: Callable[[nn.Module, Tensor], Tensor]


LIBRARIES: Dict[str, Library] = dict(
    mmpretrain=Library(
        'mmpretrain.models',
        "onedl-mmpretrain>=1.3.6' 'transformers>=4.53,<5",
        _mmpretrain,
        lambda model, images: model(images, data_samples=None, mode='loss')['loss'],
    ),
    hf=Library(
        'transformers.models.vit_mae.modeling_vit_mae',
        'transformers>=4.53,<5',
        _hugging_face,
        lambda model, images: model(images).loss,
    ),
    lightly=Library('lightly.models.modules', 'lightly>=1.5.20,<1.7', _Lightly, lambda model, images: model(images)),
)


# ---- the same classifier in timm ----


def is_classifier(cfg: Config) -> bool:
    """Whether the model is mmpretrain's classifier with our backbone."""
    model = cfg.get('model') or {}
    return str(model.get('type')).rpartition('.')[2] == 'ImageClassifier'


def timm_model(cfg: Config) -> nn.Module:
    """timm's ``VisionTransformer`` with the sizes of a settled config.

    Raises:
        ValueError: The classifier has parts that timm's does not have.
    """
    with torch.device('meta'):
        encoder, neck = MODELS.build(dict(cfg.model.backbone, init_cfg=None)), MODELS.build(cfg.model.neck)
    several = encoder.num_prefix_tokens - encoder.num_register_tokens > 1
    if encoder.frozen or isinstance(neck.norm, nn.BatchNorm1d) or encoder.mask_token is not None or several:
        raise ValueError(
            '--peers timm compares fine-tuning of the whole model; the config trains a part of it, or has '
            'a batch norm, mask tokens or several class tokens: leave --peers out'
        )
    mean = neck.pool == 'mean'
    if mean != isinstance(neck.norm, nn.LayerNorm) or mean == isinstance(encoder.norm, nn.LayerNorm):
        raise ValueError(
            '--peers timm needs the norm where timm has it: after the mean of the patches, or before the '
            'class token is taken'
        )
    model = _timm_vit(
        encoder,
        num_classes=cfg.model.head.num_classes,
        global_pool='avg' if mean else 'token',
        class_token=encoder.cls_token is not None,
        reg_tokens=encoder.num_register_tokens,
        drop_path_rate=cfg.model.backbone.get('drop_path_rate', 0.0),
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    model.pos_embed.requires_grad = False  # fixed sine-cosine positions, as ours and as in MAE
    return model


def timm_step(cfg: Config, dtype: torch.dtype, timer: PhaseTimer) -> TrainingStep:
    """A training step as a timm script has it: normalise, mix, forward, backward, the config's optimizer."""
    from timm.optim import param_groups_layer_decay

    device, model = timer.device, timm_model(cfg).to(timer.device).train()
    mean, std = (
        torch.tensor(cfg.model.data_preprocessor[key], device=device).view(1, -1, 1, 1) for key in ('mean', 'std')
    )
    optimizer = cfg.optim_wrapper.optimizer
    groups = param_groups_layer_decay(
        model,
        weight_decay=optimizer.get('weight_decay', 0.0),
        no_weight_decay_list=model.no_weight_decay(),
        layer_decay=cfg.optim_wrapper.get('paramwise_cfg', {}).get('layer_decay_rate', 1.0),
    )
    for group in groups:
        group['lr'] = optimizer.lr * group['lr_scale']
    mix, criterion = mixing_and_loss(cfg)

    def prepare(batch: dict) -> Tuple[Tensor, Tensor]:
        images = batch['inputs'].to(device, non_blocking=True)
        labels = torch.cat([sample.gt_label for sample in batch['data_samples']]).to(device, non_blocking=True)
        return mix((images.float() - mean) / std, labels)

    def loss(data: Tuple[Tensor, Tensor]) -> Tensor:
        images, targets = data
        return criterion(model(images), targets)

    return TrainingStep(model, OPTIMIZERS.build(dict(optimizer, params=groups)), loss, timer, dtype, prepare)


def mixing_and_loss(cfg: Config) -> Tuple[Callable[..., Any], nn.Module]:
    """Of images and labels; cross-entropy against mixed labels where the config mixes, else against smoothed ones.

    timm pairs a batch from both ends, so it must be even.
    """
    from timm.data.mixup import Mixup
    from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy

    smoothing = cfg.model.head.loss.get('label_smooth_val', 0.0)
    alphas = {augment['type']: augment['alpha'] for augment in (cfg.model.get('train_cfg') or {}).get('augments', [])}
    if not alphas:
        return lambda images, labels: (images, labels), LabelSmoothingCrossEntropy(smoothing)
    options = dict(label_smoothing=smoothing, num_classes=cfg.model.head.num_classes)
    return Mixup(alphas.get('Mixup', 0.0), alphas.get('CutMix', 0.0), **options), SoftTargetCrossEntropy()


# ---- their training steps ----


def is_library(name: str) -> bool:
    """Whether a name is another library's, and not of a config of ours."""
    return name in LIBRARIES or name == TIMM


def check_libraries(names: List[str], cfg: Config) -> None:
    """Import the libraries, and make sure that they have the config's model.

    A classifier is compared with timm's, which is installed wherever mmmim is.

    Raises:
        ValueError: An unknown name, or a model that is neither a plain MAE nor a plain classifier.
        ImportError: A library is missing; the message has the command that installs it.
    """
    known = (TIMM,) if is_classifier(cfg) else tuple(LIBRARIES)
    for name in names:
        if name not in known:
            raise ValueError(f"--peers '{name}' is not known for this model; use {', '.join(known)}")
    if is_classifier(cfg) or not names:
        return
    plain_mae(cfg)
    for name in names:
        module, install = LIBRARIES[name].module, LIBRARIES[name].install
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings('ignore', 'Fail to import')  # compiled operators that MAE does not use
                importlib.import_module(module)
        except Exception as error:  # what a library raises at import is not only ImportError
            raise ImportError(
                f'--peers {name}: {module} cannot be imported ({error}). Install it with '
                f"pip install '{install}' -c requirements/constraints.txt"
            ) from error


def make_step(name: str, cfg: Config, data: dict, dtype: torch.dtype, timer: PhaseTimer) -> Callable[[Any], Any]:
    """A training step of ours or of another library, watched by a timer.

    Ours is the algorithm's own ``train_step`` with the config's optimizers; another library's is forward, backward and
    the same optimizer on all its parameters. Both begin with the same uint8 batch in main memory, normalised on the
    device.

    Args:
        name: One of ``LIBRARIES``, or ``'timm'`` for a classifier; any other name is ours.
        cfg: A settled config.
        data: A batch, to fit a target that needs it.
        dtype: Of autocast.
        timer: For its device.
    """
    if name == TIMM:
        return timm_step(cfg, dtype, timer)
    if name in LIBRARIES:
        return _library_step(LIBRARIES[name], cfg, dtype, timer)
    algorithm, optim_wrapper = build(cfg, timer.device)
    fit_target(algorithm, data)
    timer.watch(optim_wrapper)
    return lambda batch: algorithm.train_step(batch, optim_wrapper)


def _library_step(library: Library, cfg: Config, dtype: torch.dtype, timer: PhaseTimer) -> TrainingStep:
    model = library.build(plain_mae(cfg)).to(timer.device).train()
    preprocessor = MODELS.build(cfg.model.get('data_preprocessor') or dict(type='MIMDataPreprocessor')).to(timer.device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return TrainingStep(
        model,
        OPTIMIZERS.build(dict(cfg.optim_wrapper.optimizer, params=trained)),
        lambda images: library.loss(model, images),
        timer,
        dtype,
        prepare=lambda batch: preprocessor(batch, True)['inputs'],
    )
