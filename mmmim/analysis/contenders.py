"""The same model from several libraries, as training steps that can be compared."""
import importlib
import warnings
from typing import Any, Callable, Dict, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import OPTIMIZERS, DefaultScope
from torch import nn

from ..registry import MODELS
from .timing import PhaseTimer
from .timm_classifier import is_classifier, timm_step
from .workload import Workload, build, fit_target

OURS = 'mmmim'


class MAESizes(NamedTuple):
    """What the peers have to be told to build the same model."""
    img_size: int
    patch_size: int
    embed_dim: int
    depth: int
    num_heads: int
    mlp_dim: int
    decoder_embed_dim: int
    decoder_depth: int
    decoder_num_heads: int
    decoder_mlp_dim: int
    mask_ratio: float
    norm_pix: bool


def mae_sizes(cfg: Config) -> MAESizes:
    """Sizes of the config's model.

    Raises:
        ValueError: The model is no plain MAE, so no peer has the same.
    """
    from ..models.algorithms import MAE
    from ..models.targets import PixelTarget
    if MODELS.get(cfg.model.type) is not MAE:
        raise ValueError(f'--peers compares MAE with the same MAE, but the config trains {cfg.model.type}: leave '
                         '--peers out')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    encoder, decoder = model.backbone, model.neck
    differences = dict(
        masking=model.masking.strategy != 'random',
        target=type(model.target) is not PixelTarget,
        loss_on=getattr(model.head, 'loss_on', '') != 'masked',
        mask_tokens=encoder.mask_token is not None,
        class_token=encoder.cls_token is None,
        final_norm=not isinstance(encoder.norm, nn.LayerNorm),
        drop_path_rate=any(getattr(block.drop_path1, 'drop_prob', 0) for block in encoder.blocks),
        in_chans=encoder.in_chans != 3,
        img_size=encoder.img_size[0] != encoder.img_size[1],
        patch_size=encoder.patch_size[0] != encoder.patch_size[1])
    found = [name for name, differs in differences.items() if differs]
    if found:
        raise ValueError(f'--peers knows plain MAE only, and no peer has the same {", ".join(found)} as this config: '
                         'leave --peers out, or compare configs/mae/vit-b_800e.py')
    block, decoder_block = encoder.blocks[0], decoder.decoder_blocks[0]
    return MAESizes(
        encoder.img_size[0], encoder.patch_size[0], encoder.embed_dim, len(encoder.blocks), block.attn.num_heads,
        block.mlp.fc1.out_features, decoder.decoder_embed.out_features, len(decoder.decoder_blocks),
        decoder_block.attn.num_heads, decoder_block.mlp.fc1.out_features, model.masking.mask_ratio,
        model.target.norm_pix)


def _mmpretrain(sizes: MAESizes) -> nn.Module:
    from mmpretrain.registry import MODELS as THEIRS
    grid = sizes.img_size // sizes.patch_size
    cfg = dict(
        type='MAE',
        backbone=dict(type='MAEViT', img_size=sizes.img_size, patch_size=sizes.patch_size, mask_ratio=sizes.mask_ratio,
                      arch=dict(embed_dims=sizes.embed_dim, num_layers=sizes.depth, num_heads=sizes.num_heads,
                                feedforward_channels=sizes.mlp_dim)),
        neck=dict(type='MAEPretrainDecoder', num_patches=grid**2, patch_size=sizes.patch_size, in_chans=3,
                  embed_dim=sizes.embed_dim, decoder_embed_dim=sizes.decoder_embed_dim,
                  decoder_depth=sizes.decoder_depth, decoder_num_heads=sizes.decoder_num_heads,
                  mlp_ratio=sizes.decoder_mlp_dim / sizes.decoder_embed_dim),
        head=dict(type='MAEPretrainHead', norm_pix=sizes.norm_pix, patch_size=sizes.patch_size,
                  loss=dict(type='PixelReconstructionLoss', criterion='L2')))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return THEIRS.build(cfg)


def _hugging_face(sizes: MAESizes) -> nn.Module:
    from transformers import ViTMAEConfig, ViTMAEForPreTraining
    return ViTMAEForPreTraining(ViTMAEConfig(
        image_size=sizes.img_size, patch_size=sizes.patch_size, hidden_size=sizes.embed_dim,
        num_hidden_layers=sizes.depth, num_attention_heads=sizes.num_heads, intermediate_size=sizes.mlp_dim,
        decoder_hidden_size=sizes.decoder_embed_dim, decoder_num_hidden_layers=sizes.decoder_depth,
        decoder_num_attention_heads=sizes.decoder_num_heads, decoder_intermediate_size=sizes.decoder_mlp_dim,
        mask_ratio=sizes.mask_ratio, norm_pix_loss=sizes.norm_pix, layer_norm_eps=1e-6))


class _Peer(NamedTuple):
    module: str
    install: str
    build: Callable[[MAESizes], nn.Module]
    loss: Callable[[nn.Module, torch.Tensor], torch.Tensor]


PEERS: Dict[str, _Peer] = dict(
    mmpretrain=_Peer('mmpretrain.models', "onedl-mmpretrain>=1.3.6' 'transformers>=4.53,<5", _mmpretrain,
                     lambda model, images: model(images, data_samples=None, mode='loss')['loss']),
    hf=_Peer('transformers.models.vit_mae.modeling_vit_mae', 'transformers>=4.53,<5', _hugging_face,
             lambda model, images: model(images).loss))


def check_peers(names: list, cfg: Config) -> None:
    """Import the libraries, and make sure that they have the config's model.

    A classifier is compared with timm's, which is installed wherever mmmim is.

    Raises:
        ValueError: An unknown name, or a model that is neither a plain MAE nor a plain classifier.
        ImportError: A library is missing; the message has the command that installs it.
    """
    known = ('timm', ) if is_classifier(cfg) else tuple(PEERS)
    for name in names:
        if name not in known:
            raise ValueError(f"--peers '{name}' is not known for this model; use {', '.join(known)}")
    if is_classifier(cfg):
        return
    if names:
        mae_sizes(cfg)
    for name in names:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings('ignore', 'Fail to import')  # compiled operators that MAE does not use
                importlib.import_module(PEERS[name].module)
        except Exception as error:  # what a library raises at import is not only ImportError
            raise ImportError(f"--peers {name}: {PEERS[name].module} cannot be imported ({error}). Install it with "
                              f"pip install '{PEERS[name].install}' -c requirements/constraints.txt") from error


def make_step(name: str, cfg: Config, data: dict, dtype: torch.dtype, timer: PhaseTimer) -> Callable[[Any], Any]:
    """A training step of one contender, watched by a timer.

    Ours is the algorithm's own ``train_step`` with the config's optimizers; a peer's is forward, backward and the same
    optimizer on all its parameters. Both begin with the same uint8 batch in main memory, normalised on the device.

    Args:
        name: One of ``PEERS``, or ``'timm'`` for a classifier; any other name is ours.
        cfg: A settled config.
        data: A batch, to fit a target that needs it.
    """
    if name == 'timm':
        return timm_step(cfg, dtype, timer)
    if name in PEERS:
        return _peer_step(PEERS[name], cfg, dtype, timer)
    workload = build(cfg, timer.device)
    fit_target(workload.algorithm, data)
    return watched_step(workload, timer)


def watched_step(workload: Workload, timer: PhaseTimer) -> Callable[[Any], Any]:
    """The algorithm's own step."""
    timer.watch(workload.optim_wrapper)
    return lambda batch: workload.algorithm.train_step(batch, workload.optim_wrapper)


def _peer_step(peer: _Peer, cfg: Config, dtype: torch.dtype, timer: PhaseTimer) -> Callable[[Any], Any]:
    device = timer.device
    model = peer.build(mae_sizes(cfg)).to(device).train()
    preprocessor = MODELS.build(cfg.model.get('data_preprocessor') or dict(type='MIMDataPreprocessor')).to(device)
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = OPTIMIZERS.build(dict(cfg.optim_wrapper.optimizer, params=params))

    def step(batch: dict) -> None:
        images = preprocessor(batch, True)['inputs']
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = peer.loss(model, images)
        with timer.phase('backward'):
            loss.backward()
        with timer.phase('optimizer'):
            optimizer.step()
            optimizer.zero_grad()

    return step
