"""``load_from``: the weights of any checkpoint into a model of ours."""

from typing import Any, Dict, List, Optional, Sequence, Union

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop

from ...checkpoint.config_text import ConfigTextError, stored_config
from ...checkpoint.defaults import of_another_default
from ...checkpoint.encoder import EncoderMismatchError, open_encoder
from ...checkpoint.generator import check_pixels
from ...checkpoint.read import StateDict
from ...checkpoint.schemes.names import classifier_name, first_names
from ...positions import resize_pos_embed, sincos_grid
from ...registry import HOOKS


class IncompleteCheckpointError(RuntimeError):
    """A checkpoint to be tested leaves parts of the model at their random initialisation."""


@HOOKS.register_module()
class LoadFromHook(Hook):
    """Translates the checkpoint of ``load_from`` and says what came of it.

    ``init_cfg`` of a backbone loads the encoder alone; this loads every parameter that fits by name and shape, of any
    naming scheme, and says which keep their initialisation. Refused are: an encoder that does not fit; a checkpoint of
    before a default of the model changed (checkpoint/defaults.py), if the config does not state the key; a decoder of
    normalised pixels where the model paints raw ones; in testing, also a checkpoint that lacks parts of another
    toolbox's model, such as a classifier's head.

    Args:
        prefix: Which network, where the file holds several, as in :func:`~mmmim.checkpoint.encoder.fill_encoder`; on
            the command line ``default_hooks.load_from.prefix=student``.
        part: Another name of ``prefix``.
        resize_patches, adapt_channels, allow_unused: As there.
    """

    priority = 'HIGH'  # after the guard of a resume

    def __init__(
        self,
        prefix: Optional[str] = None,
        part: Optional[str] = None,
        resize_patches: bool = False,
        adapt_channels: bool = False,
        allow_unused: Union[bool, str, Sequence[str]] = False,
    ) -> None:
        self.prefix = part if part is not None else prefix
        self.options = dict(resize_patches=resize_patches, adapt_channels=adapt_channels, allow_unused=allow_unused)

    def after_load_checkpoint(self, runner, checkpoint: Dict[str, Any]) -> None:
        """Replaces the content of ``checkpoint`` by the parameters of the model that it fills."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        resuming = getattr(runner, '_resume', False) and runner._train_loop is not None
        if resuming or not hasattr(getattr(model, 'backbone', None), 'load_pretrained'):
            return  # a backbone of another toolbox, or of timm, takes the names as they are
        path = str(getattr(runner, '_load_from', None) or '')
        problems = other_defaults(checkpoint, runner.cfg)
        if problems:
            raise EncoderMismatchError(
                f'load_from={path} is of a model with other defaults:\n  ' + '\n  '.join(problems)
            )
        file = open_encoder(checkpoint, self.prefix, path=path)
        state = {classifier_name(name): value for name, value in file.whole().items()}
        if hasattr(model, 'check_state_dict'):
            model.check_state_dict(state)  # raises for another model structure
        own = model.state_dict()
        loaded = _fitting(state, own, model.backbone.num_prefix_tokens)
        if all(name in loaded for name in own if name.startswith('neck.')):  # the decoder will be the file's
            for warning in check_pixels(file, getattr(model, 'target', None), 'model.target.norm_pix'):
                runner.logger.warning(f'load_from: {warning}')
        # raises when it does not fit
        report = model.backbone.load_pretrained(file, logger='silent', **self.options)
        loaded.update({f'backbone.{name}': value for name, value in model.backbone.state_dict().items()})
        if hasattr(model, 'complete_state_dict'):
            model.complete_state_dict(loaded)
        _report(runner, path, [name for name in state if name not in loaded], loaded, own)
        for note in report.notes:
            runner.logger.info(f'load_from: {note}')
        checkpoint.clear()
        checkpoint['state_dict'] = loaded


def other_defaults(checkpoint: Dict[str, Any], cfg: Any) -> List[str]:
    """Sentences on defaults of the model that have changed since a checkpoint was written."""
    try:
        stored = stored_config(checkpoint).get('model')
    except ConfigTextError:  # more than plain values: then names and shapes have to tell
        return []
    known = checkpoint.get('mmmim')
    return list(
        of_another_default(stored, cfg.get('model'), known.get('changed_defaults', 0) if isinstance(known, dict) else 0)
    )


def _fitting(state: StateDict, own: StateDict, prefix: int) -> StateDict:
    """What stands beside the encoder and has its place in the model."""
    rest = {
        name: value
        for name, value in state.items()
        if not name.startswith('backbone.') and name in own and own[name].shape == value.shape
    }
    rest.update({name: _same_grid(rest[name], own[name], prefix) for name in rest if name.endswith('pos_embed')})
    return rest


def _report(runner, path: str, unused: List[str], loaded: StateDict, own: StateDict) -> None:
    absent = sorted(set(own) - set(loaded))
    testing = not isinstance(runner._train_loop, BaseLoop)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if absent and testing and not type(model).__module__.startswith('mmmim.'):
        raise IncompleteCheckpointError(
            f'the checkpoint has no {_some(absent)} of this size: it cannot be tested as {type(model).__name__}. Give '
            'one that this config has trained'
        )
    parts = first_names(name for name in loaded)
    runner.logger.info(f'load_from: {path} fills {parts}; not used: {first_names(unused) or "nothing"}')
    if absent:
        runner.logger.warning(
            f'load_from: {len(absent)} parameters outside the encoder keep their initialisation: {_some(absent)}'
        )


def _some(names: List[str]) -> str:
    return f'{", ".join(names[:5])}{" ..." if len(names) > 5 else ""}'


def _same_grid(table: torch.Tensor, own: torch.Tensor, prefix: int) -> torch.Tensor:
    """A sine-cosine table of another grid with as many positions, resampled to the grid of the model's."""
    for rows in (prefix, 0):
        theirs, ours = sincos_grid(table[0, rows:]), sincos_grid(own[0, rows:])
        if theirs and ours and theirs != ours:
            return resize_pos_embed(table, theirs, ours, rows)
    return table
