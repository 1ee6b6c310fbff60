"""A model that paints: encoder and decoder from one checkpoint."""

import logging
from dataclasses import replace
from typing import Any, List, Optional, Protocol

from mmengine.logging import print_log
from torch import nn

from ..positions import Grid, find_grid, resize_pos_embed
from .config_text import stated_grid
from .encoder import EncoderFile, LoadReport, open_encoder
from .peel import EncoderMismatchError
from .read import StateDict


class Encoder(Protocol):
    """A backbone of ours."""

    grid_size: Grid
    num_prefix_tokens: int

    def load_pretrained(self, checkpoint: EncoderFile, *, logger: Any = None) -> LoadReport: ...


def check_pixels(file: EncoderFile, target: Any, key: str) -> List[str]:
    """Whether the decoder in a file predicts the pixels that a model's target is made of; returns warnings.

    Args:
        file: Of :func:`~mmmim.checkpoint.encoder.open_encoder`.
        target: The model's; only those with ``norm_pix`` are looked at.
        key: Of ``norm_pix`` in the config, for messages.

    Raises:
        EncoderMismatchError: The file's are normalised, and the model paints raw ones.
    """
    wanted, told = getattr(target, 'norm_pix', None), file.normalised_pixels()
    if wanted is None or not any(name.startswith('neck.') for name in file.others) or told is wanted:
        return []
    name = file.path or 'the checkpoint'
    if told and not wanted:
        raise EncoderMismatchError(
            f'{name}: its decoder predicts normalised pixels, and this model paints raw ones. Set {key}=True, or take '
            'a checkpoint that was trained with raw pixels (of the original MAE: mae_visualize_vit_*.pth).'
        )
    if told is None:
        said = f'nothing tells whether the decoder in {name} predicts raw or normalised pixels; here {key}={wanted}'
        return [] if wanted else [said]
    return [f'the decoder in {name} predicts raw pixels, and the target here is normalised ones ({key}=True)']


def load_generator(
    encoder: Encoder,
    decoder: nn.Module,
    path: str,
    part: str = 'generator.',
    target: Any = None,
    prefix: Optional[str] = None,
) -> None:
    """Load encoder and decoder completely, or raise.

    Args:
        encoder: A backbone of ours.
        decoder: The module that decodes its tokens to pixels.
        path: A file or an address: a pre-training checkpoint of MAE or SimMIM, of this project or of a known naming
            scheme, with its decoder; or one of an adversarial method, whose generator is loaded.
        part: Prefix of the generator in checkpoints of an adversarial method.
        target: The model's; see :func:`check_pixels`.
        prefix: Which network, where the file holds several, as in :func:`~mmmim.checkpoint.encoder.open_encoder`.

    Raises:
        EncoderMismatchError: The encoder or the decoder of the file is absent or of another shape, or it predicts other
            pixels.
    """
    file = open_encoder(path, prefix)
    generator = {name[len(part) :]: value for name, value in file.others.items() if name.startswith(part)}
    if generator:
        file = replace(file, encoder=generator, grid=stated_grid(file.model, part.rstrip('.')))
    state = {name[len('neck.') :]: value for name, value in file.others.items() if name.startswith('neck.')}
    wanted = decoder.state_dict()
    notes = _fit_positions(state, wanted, encoder, file.grid)
    check_decoder(state, wanted, str(path))
    for warning in check_pixels(file, target, 'model.target.norm_pix'):
        print_log(warning, 'current', logging.WARNING)
    encoder.load_pretrained(file, logger='silent')
    decoder.load_state_dict(state)
    print_log(f'Encoder and decoder loaded from {path}: {len(state)} keys of the decoder matched.{notes}', 'current')


def _fit_positions(state: StateDict, wanted: StateDict, encoder: Encoder, stated: Optional[Grid]) -> str:
    """Resize the decoder's position table like the encoder's, in place; returns a note for the log."""
    name, prefix, grid = 'decoder_pos_embed', encoder.num_prefix_tokens, encoder.grid_size
    if name not in state or name not in wanted:
        return ''
    found = find_grid(state[name], (prefix,), grid, stated)
    if found is None or found.grid == grid:  # check_decoder reports unreadable tables
        return ''
    state[name] = resize_pos_embed(state[name], found.grid, grid, prefix)
    return ' Its position table was resized from {} x {} to {} x {} patches.'.format(*found.grid, *grid)


def check_decoder(state: StateDict, wanted: StateDict, path: str) -> None:
    """Raises EncoderMismatchError when the decoder in a file has other shapes than ``wanted``."""
    if not state:
        raise EncoderMismatchError(
            f'{path} holds an encoder without a decoder, and a generator needs both: take the '
            'full pre-training checkpoint ("full" in the names of the original MAE\'s files)'
        )
    problems = [f'{key} missing' for key in wanted if key not in state]
    problems += [f'{key} not in the model' for key in state if key not in wanted]
    problems += [
        f'{key} {list(state[key].shape)} against {list(wanted[key].shape)}'
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    if problems:
        more = f' and {len(problems) - 6} more' if len(problems) > 6 else ''
        raise EncoderMismatchError(
            f'the decoder in {path} is not that of model.neck (file against model): '
            f'{"; ".join(problems[:6])}{more}. Set model.neck, model.target and the image size '
            'of the generator to match the checkpoint'
        )


def complete_generator(state_dict: StateDict, own: StateDict, part: str = 'generator.') -> None:
    """Initialise the generator, too, from a checkpoint with one encoder, in place.

    Args:
        state_dict: Of the checkpoint; the discriminator is ``backbone.``, the generator's decoder ``neck.``.
        own: The model's own state dict.
        part: Prefix of the generator's encoder in it.

    Raises:
        EncoderMismatchError: Encoder or decoder of the generator are not complete.
    """
    if not any(name.startswith(part) for name in state_dict):
        for name in [name for name in own if name.startswith(part)]:
            source = state_dict.get(f'backbone.{name.removeprefix(part)}')
            if source is not None and source.shape == own[name].shape:
                state_dict[name] = source.clone()
    missing = [name for name in own if name.startswith((part, 'neck.')) and name not in state_dict]
    if missing:
        raise EncoderMismatchError(
            f'load_from: the checkpoint does not fill the generator, of which {len(missing)} parameters are missing or '
            f'of another shape: {", ".join(missing[:5])}{" ..." if len(missing) > 5 else ""}. It has to be a full '
            'pre-training checkpoint, with decoder, for the same architecture. The two networks can also be loaded '
            'from files of their own: model.backbone.init_cfg and model.pretrained_generator'
        )
