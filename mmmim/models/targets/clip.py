"""Features of CLIP's image encoder."""

import os
from typing import Any, Dict, Optional

import timm
import torch
from timm.models import VisionTransformer
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor
from torch.nn import functional as F

from ...naming import unwrap
from ...registry import MODELS
from ...safe_load import load_file
from .network import NetworkTarget, as_constant

HUB_FILES = ('model.safetensors', 'open_clip_model.safetensors', 'pytorch_model.bin', 'open_clip_pytorch_model.bin')


@MODELS.register_module()
class CLIPTarget(NetworkTarget):
    """Patch tokens of a CLIP ViT (Radford et al., 2021) from timm, ``[B, h*w, D]``.

    CrossMAE names neither the encoder nor the layer. The default is the ViT-B/16 of OpenAI, whose grid at 224 px is the
    backbone's, and its last block after the final norm. Images of other sizes are resized to the encoder's.

    Args:
        model: timm's name of the encoder. OpenAI's have a "quick" GELU.
        clip_layer: Number of the block, from 1, whose tokens are taken as they are. None: the last, after the norm.
        project: Also apply CLIP's projection to the space it shares with text, which was trained on the class token.
        weights: Path of the weights, in timm's, open_clip's or OpenAI's names. None: timm's hub, if it is there.

    Raises:
        FileNotFoundError: There are no weights.
        RuntimeError: The file holds something else, such as a CLIP of another width.
        ValueError: timm has no such ViT, or it no such block.
    """

    def __init__(
        self,
        model: str = 'vit_base_patch16_clip_quickgelu_224.openai',
        clip_layer: Optional[int] = None,
        project: bool = False,
        weights: Optional[str] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        network = create(model)
        super().__init__(
            [255 * v for v in pretrained_cfg(network)['mean']],
            [255 * v for v in pretrained_cfg(network)['std']],
            init_cfg,
        )
        depth = len(network.blocks)
        if clip_layer is not None and (not 1 <= clip_layer <= depth or project):
            raise ValueError(
                f'clip_layer={clip_layer}: {model} has blocks 1 to {depth}, and the projection '
                f'(project={project}) goes with clip_layer=None alone'
            )
        self.clip_layer, self.project = clip_layer, project
        self.img_size, self.grid_size = network.patch_embed.img_size, network.patch_embed.grid_size
        self.out_dim = network.num_classes if project else network.embed_dim
        load_clip(network, model, weights or find_in_cache(network, model))
        if not project:
            network.reset_classifier(0)
        if clip_layer is not None:
            network.blocks, network.norm = network.blocks[:clip_layer], torch.nn.Identity()
        self.network = as_constant(network)

    def compute(self, images: Tensor) -> Tensor:
        images = self.renormalize(images)
        if tuple(images.shape[2:]) != tuple(self.img_size):
            images = F.interpolate(images, self.img_size, mode='bicubic', antialias=True, align_corners=False)
        tokens = self.network.forward_features(images)[:, self.network.num_prefix_tokens :]
        return self.network.head(tokens) if self.project else tokens


def create(model: str) -> VisionTransformer:
    """timm's network, from its random initialisation."""
    if not timm.is_model(model):
        known = ', '.join(timm.list_models('vit_*_clip_*'))
        raise ValueError(f"CLIPTarget: timm has no model '{model}'; it has {known}")
    network = timm.create_model(model, pretrained=False)
    if not isinstance(network, VisionTransformer):
        raise ValueError(f"CLIPTarget: '{model}' is a {type(network).__name__} and no plain ViT")
    return network


def pretrained_cfg(network: VisionTransformer) -> Dict[str, Any]:
    """What timm knows of a network's weights; ``create_model`` puts it on the network."""
    return getattr(network, 'pretrained_cfg')


def find_in_cache(network: VisionTransformer, model: str) -> str:
    """The file that timm's hub has left on this machine; nothing is fetched.

    Raises:
        FileNotFoundError: None; the message says how to get it.
    """
    from huggingface_hub import try_to_load_from_cache

    repository = pretrained_cfg(network).get('hf_hub_id') or f'timm/{model}'
    for name in HUB_FILES:
        path = try_to_load_from_cache(repository, name)
        if isinstance(path, str):
            return path
    raise FileNotFoundError(
        f'CLIPTarget needs the weights of {model}, and the Hugging Face cache has no {HUB_FILES[0]} of {repository}. '
        f'Fetch it with `python -c "import timm; timm.create_model(\'{model}\', pretrained=True)"`, or set '
        'model.target.weights to the path of a file that holds them'
    )


def load_clip(network: VisionTransformer, model: str, path: str) -> None:
    """Fill the network from a file, completely."""
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f'CLIPTarget needs the weights of {model}, and there is no file {path!r}: download '
            f'{HUB_FILES[0]} of https://huggingface.co/timm/{model} and set model.target.weights '
            'to its path'
        )
    state, own = dict(unwrap(load_file(path))), network.state_dict()
    widths = {
        tuple(value.shape)
        for key, value in state.items()
        if key.endswith(('patch_embed.proj.weight', 'visual.conv1.weight'))
    }
    wanted = tuple(own['patch_embed.proj.weight'].shape)
    if widths and wanted not in widths:
        found = widths.pop()
        raise RuntimeError(
            f'{path} holds a CLIP encoder of width {found[0]} with patches of {found[2]}x{found[3]} '
            f'pixels; {model} has width {wanted[0]} and patches of {wanted[2]}x{wanted[3]}: set '
            'model.target.model to the encoder of this file'
        )
    state = checkpoint_filter_fn(state, network)
    wrong = [key for key in own if key not in state or state[key].shape != own[key].shape]
    if wrong:
        raise RuntimeError(
            f'{path} is not the CLIP encoder {model}: {len(wrong)} of its {len(own)} tensors are '
            f'missing or of another shape (first: {wrong[0]})'
        )
    network.load_state_dict({key: state[key] for key in own})
