"""Features of a plain ViT of timm: CLIP's image encoder, DINO, MAE, a supervised one."""

import difflib
from typing import Any, Dict, Optional

import timm
from timm.models import VisionTransformer
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor

from ...registry import MODELS
from ..build import key_of
from .network import NetworkTarget, fill_network, read_weights
from .timm_network import TimmTarget

HUB_FILES = ('model.safetensors', 'open_clip_model.safetensors', 'pytorch_model.bin', 'open_clip_pytorch_model.bin')


@MODELS.register_module(name=['TimmViTTarget', 'CLIPTarget'])
class TimmViTTarget(TimmTarget):
    """Patch tokens of a plain ViT of timm on their own grid, ``[B, h*w, D]``: of CLIP (Radford et al., 2021), DINO
    (Caron et al., 2021) and others. :class:`TimmTarget` takes every model of timm and brings any grid to the encoder's;
    this is its case with CLIP's projection and the files of CLIP.

    The default is CLIP's ViT-B/16 of OpenAI, whose grid at 224 px is the backbone's, and its last block after the final
    norm: CrossMAE names neither the encoder nor the layer. Images of other sizes are resized to the encoder's.

    Args:
        model: timm's name of the encoder, such as ``'vit_small_patch16_224.dino'``. OpenAI's CLIP has a "quick" GELU.
        layer: Number of the block, from 1, whose tokens are taken as they are. None: the last, after the norm.
        project: Also apply CLIP's projection to the space it shares with text, which was trained on the class token.
        weights: Path of the weights, in timm's, open_clip's, OpenAI's or DINOv2's names. None: timm's hub, if it is
            there.
        clip_layer: Former name of ``layer``.

    Raises:
        FileNotFoundError: There are no weights.
        RuntimeError: The file holds something else, such as an encoder of another width.
        ValueError: timm has no such ViT, or it no such block or no projection.
    """

    def __init__(
        self,
        model: str = 'vit_base_patch16_clip_quickgelu_224.openai',
        layer: Optional[int] = None,
        project: bool = False,
        weights: Optional[str] = None,
        clip_layer: Optional[int] = None,
        init_cfg: Optional[dict] = None,
    ) -> None:
        network = create(model)
        mean, std = ([255 * value for value in pretrained_cfg(network)[key]] for key in ('mean', 'std'))
        NetworkTarget.__init__(self, mean, std, init_cfg)
        layer = clip_layer if layer is None else layer
        depth = len(network.blocks)
        if layer is not None and (not 1 <= layer <= depth or project):
            raise ValueError(
                f'layer={layer}: {model} has blocks 1 to {depth}, and the projection (project={project}) goes with '
                'layer=None alone'
            )
        if project and not network.num_classes:
            raise ValueError(f'project=True: {model} has no projection; only encoders of CLIP have one')
        self.layer, self.project = layer, project
        projected = network.num_classes
        if not project:
            network.reset_classifier(0)
        load_vit(network, model, weights or find_in_cache(network, model))
        # tokens of a middle block are taken as they are
        self._set_up(network, model, network.patch_embed.img_size, layer, norm=layer is None)
        self.out_dim = projected if project else self.out_dim

    def compute(self, images: Tensor) -> Tensor:
        tokens = super().compute(images)
        head: Any = self.network.head
        return head(tokens) if self.project else tokens


CLIPTarget = TimmViTTarget  # its first name


def create(model: str) -> VisionTransformer:
    """timm's network, from its random initialisation."""
    if not timm.is_model(model):
        close = ', '.join(difflib.get_close_matches(model, timm.list_pretrained('vit_*'), n=5, cutoff=0))
        raise ValueError(f"TimmViTTarget: timm has no model '{model}'; its ViTs with a similar name are {close}")
    network = timm.create_model(model, pretrained=False)
    if not isinstance(network, VisionTransformer):
        raise ValueError(f"TimmViTTarget: '{model}' is a {type(network).__name__} and no plain ViT")
    return network


def pretrained_cfg(network: VisionTransformer) -> Dict[str, Any]:
    """What timm knows of a network's weights; ``create_model`` puts it on the network."""
    return getattr(network, 'pretrained_cfg')


def hub_id(network: VisionTransformer, model: str) -> str:
    """The repository of the weights at the Hugging Face hub; several of timm's models may share one."""
    return pretrained_cfg(network).get('hf_hub_id') or f'timm/{model}'


def find_in_cache(network: VisionTransformer, model: str) -> str:
    """The file that timm's hub has left on this machine; nothing is fetched.

    Raises:
        FileNotFoundError: None; the message says how to get it.
    """
    from huggingface_hub import try_to_load_from_cache

    repository = hub_id(network, model)
    for name in HUB_FILES:
        path = try_to_load_from_cache(repository, name)
        if isinstance(path, str):
            return path
    raise FileNotFoundError(
        f'TimmViTTarget needs the weights of {model}, and the Hugging Face cache has no {HUB_FILES[0]} of {repository}.'
        f' Fetch it with `python -c "import timm; timm.create_model(\'{model}\', pretrained=True)"`, or set '
        f'{key_of("weights", "target")} to the path of a file that holds them'
    )


def load_vit(network: VisionTransformer, model: str, path: str) -> None:
    """Fill the network from a file, completely."""
    name = f'the encoder that the target was built for, {model}'
    page = f'https://huggingface.co/{hub_id(network, model)}'
    state = read_weights(
        path,
        name,
        f'TimmViTTarget needs the weights of {model}, and there is no file {path!r}: download {HUB_FILES[0]} of '
        f'{page} and set {key_of("weights", "target")} to its path',
    )
    widths = {
        tuple(value.shape)
        for key, value in state.items()
        if key.endswith(('patch_embed.proj.weight', 'visual.conv1.weight'))
    }
    wanted = tuple(network.patch_embed.proj.weight.shape)
    if widths and wanted not in widths:
        found = widths.pop()
        raise RuntimeError(
            f'{path} holds an encoder of width {found[0]} with patches of {found[2]}x{found[3]} '
            f'pixels; {model} has width {wanted[0]} and patches of {wanted[2]}x{wanted[3]}: set '
            f'{key_of("model", "target")} to the encoder of this file'
        )
    fill_network(network, checkpoint_filter_fn(state, network), path, name)
