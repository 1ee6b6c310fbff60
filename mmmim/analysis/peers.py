"""The same MAE from other libraries."""

import warnings
from typing import Callable, Dict, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from ..deferred import leave_out_multimodal
from ..models.layers.blocks import LayerNorm
from ..registry import MODELS


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
        raise ValueError(
            f'--peers compares MAE with the same MAE, but the config trains {cfg.model.type}: leave --peers out'
        )
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
        patch_size=encoder.patch_size[0] != encoder.patch_size[1],
    )
    found = [name for name, differs in differences.items() if differs]
    if found:
        raise ValueError(
            f'--peers knows plain MAE only, and no peer has the same {", ".join(found)} as this config: '
            'leave --peers out, or compare configs/mae/vit-b_800e.py'
        )
    block, decoder_block = encoder.blocks[0], decoder.decoder_blocks[0]
    return MAESizes(
        encoder.img_size[0],
        encoder.patch_size[0],
        encoder.embed_dim,
        len(encoder.blocks),
        block.attn.num_heads,
        block.mlp.fc1.out_features,
        decoder.decoder_embed.out_features,
        len(decoder.decoder_blocks),
        decoder_block.attn.num_heads,
        decoder_block.mlp.fc1.out_features,
        model.masking.mask_ratio,
        model.target.norm_pix,
    )


def _mmpretrain(sizes: MAESizes) -> nn.Module:
    leave_out_multimodal()
    from mmpretrain.registry import MODELS as THEIRS

    grid = sizes.img_size // sizes.patch_size
    cfg = dict(
        type='MAE',
        backbone=dict(
            type='MAEViT',
            img_size=sizes.img_size,
            patch_size=sizes.patch_size,
            mask_ratio=sizes.mask_ratio,
            arch=dict(
                embed_dims=sizes.embed_dim,
                num_layers=sizes.depth,
                num_heads=sizes.num_heads,
                feedforward_channels=sizes.mlp_dim,
            ),
        ),
        neck=dict(
            type='MAEPretrainDecoder',
            num_patches=grid**2,
            patch_size=sizes.patch_size,
            in_chans=3,
            embed_dim=sizes.embed_dim,
            decoder_embed_dim=sizes.decoder_embed_dim,
            decoder_depth=sizes.decoder_depth,
            decoder_num_heads=sizes.decoder_num_heads,
            mlp_ratio=sizes.decoder_mlp_dim / sizes.decoder_embed_dim,
        ),
        head=dict(
            type='MAEPretrainHead',
            norm_pix=sizes.norm_pix,
            patch_size=sizes.patch_size,
            loss=dict(type='PixelReconstructionLoss', criterion='L2'),
        ),
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return THEIRS.build(cfg)


def _hugging_face(sizes: MAESizes) -> nn.Module:
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    return ViTMAEForPreTraining(
        ViTMAEConfig(
            image_size=sizes.img_size,
            patch_size=sizes.patch_size,
            hidden_size=sizes.embed_dim,
            num_hidden_layers=sizes.depth,
            num_attention_heads=sizes.num_heads,
            intermediate_size=sizes.mlp_dim,
            decoder_hidden_size=sizes.decoder_embed_dim,
            decoder_num_hidden_layers=sizes.decoder_depth,
            decoder_num_attention_heads=sizes.decoder_num_heads,
            decoder_intermediate_size=sizes.decoder_mlp_dim,
            mask_ratio=sizes.mask_ratio,
            norm_pix_loss=sizes.norm_pix,
            layer_norm_eps=1e-6,
        )
    )


class _Lightly(nn.Module):
    """Lightly has the parts of an MAE; this is how its documentation puts them together."""

    def __init__(self, sizes: MAESizes) -> None:
        super().__init__()
        from lightly.models import modules, utils
        from timm.models.vision_transformer import VisionTransformer

        self.sizes, self.utils = sizes, utils
        length = (sizes.img_size // sizes.patch_size) ** 2
        self.encoder = modules.MaskedVisionTransformerTIMM(
            VisionTransformer(
                sizes.img_size,
                sizes.patch_size,
                num_classes=0,
                embed_dim=sizes.embed_dim,
                depth=sizes.depth,
                num_heads=sizes.num_heads,
                mlp_ratio=sizes.mlp_dim / sizes.embed_dim,
                norm_layer=LayerNorm,
            )
        )
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of 1.6: the class will get another name
            self.decoder = modules.MAEDecoderTIMM(
                length,
                sizes.patch_size,
                embed_dim=sizes.embed_dim,
                decoder_embed_dim=sizes.decoder_embed_dim,
                decoder_depth=sizes.decoder_depth,
                decoder_num_heads=sizes.decoder_num_heads,
                mlp_ratio=sizes.decoder_mlp_dim / sizes.decoder_embed_dim,
            )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The loss of ``[B, 3, H, W]``."""
        tokens = len(images), self.encoder.sequence_length
        kept, masked = self.utils.random_token_mask(tokens, self.sizes.mask_ratio, device=images.device)
        encoded = self.decoder.embed(self.encoder.encode(images, idx_keep=kept))
        filled = self.utils.repeat_token(self.decoder.mask_token, tokens).to(encoded.dtype)
        decoded = self.decoder.decode(self.utils.set_at_index(filled, kept, encoded))
        predicted = self.decoder.predict(self.utils.get_at_index(decoded, masked))
        patches = self.utils.patchify(images, self.sizes.patch_size)
        target = self.utils.get_at_index(patches, masked - 1)  # the class token is in front
        if self.sizes.norm_pix:
            target = self.utils.normalize_mean_var(target, dim=-1)
        return nn.functional.mse_loss(predicted, target)


class Peer(NamedTuple):
    """
    Attributes:
        module: What has to be importable.
        install: What pip installs.
        build: The model of these sizes.
        loss: Of the model and images ``[B, 3, H, W]``.
    """

    module: str
    install: str
    build: Callable[[MAESizes], nn.Module]
    loss: Callable[[nn.Module, torch.Tensor], torch.Tensor]


PEERS: Dict[str, Peer] = dict(
    mmpretrain=Peer(
        'mmpretrain.models',
        "onedl-mmpretrain>=1.3.6' 'transformers>=4.53,<5",
        _mmpretrain,
        lambda model, images: model(images, data_samples=None, mode='loss')['loss'],
    ),
    hf=Peer(
        'transformers.models.vit_mae.modeling_vit_mae',
        'transformers>=4.53,<5',
        _hugging_face,
        lambda model, images: model(images).loss,
    ),
    lightly=Peer('lightly.models.modules', 'lightly>=1.5.20,<1.7', _Lightly, lambda model, images: model(images)),
)
