"""What a run says at its start: all that depends on the number of processes, on the hardware, or on what is missing."""

from collections import Counter
from typing import Any, Dict, List

import torch
from mmengine.config import Config
from mmengine.model import is_model_wrapper
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...models.layers.norm import CrossRankBatchNorm1d, CrossRankBatchNorm2d
from ..devices import cores_here, processes_here, usable_gpus, why_no_gpu
from ..hardware import cpu_name
from ..optim.autocast import has_fast_bf16

ACROSS = (nn.SyncBatchNorm, CrossRankBatchNorm1d, CrossRankBatchNorm2d)


def start_lines(runner: Any, facts: Dict[str, Any]) -> List[str]:
    """Lines for the log, in the order: devices, effective batch, batch statistics, precision.

    Args:
        runner: Of the run; its model is set to training.
        facts: :func:`~mmmim.engine.hooks.run_record.run_facts`: ``batch``, ``passes``, ``processes``, ``dtype``.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return [
        *device_lines(runner.cfg.get('launcher', 'none'), facts['processes']),
        *batch_lines(runner.cfg, facts),
        *statistics_lines(model.train(), facts),
        *precision_lines(runner.cfg, facts['dtype']),
    ]


def device_lines(launcher: str, processes: int) -> List[str]:
    """The fallback to the CPU, and what its cores are shared by."""
    if usable_gpus():
        return []
    here = processes_here(launcher) if processes > 1 else 1
    shared = (
        f'{here} processes on this machine share {cores_here(launcher)} cores, {torch.get_num_threads()} threads each'
    )
    return [f'No GPU is used: {why_no_gpu()}. {shared if here > 1 else f"{torch.get_num_threads()} threads compute"}']


def batch_lines(cfg: Config, facts: Dict[str, Any]) -> List[str]:
    """The effective batch size, and whether the number of processes changes it."""
    batch, passes, processes = facts['batch'], facts['passes'], facts['processes']
    lines = [
        f'Effective batch size {batch * passes * processes} = {processes} process{"es" * (processes > 1)} x {batch} '
        f'x {passes} pass{"es" * (passes > 1)}'
    ]
    if cfg.get('total_batch_size') is None and processes > 1:
        lines.append(
            'It grows with the number of processes, and the learning rate does not follow: the config has no '
            'total_batch_size'
        )
    return lines


def statistics_lines(model: nn.Module, facts: Dict[str, Any]) -> List[str]:
    """Which parts compute batch statistics of fewer samples than the effective batch has."""
    batch, passes, processes = facts['batch'], facts['passes'], facts['processes']
    alone: Counter = Counter()
    across: Counter = Counter()
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.training:
            (across if isinstance(module, ACROSS) else alone)[name.partition('.')[0]] += 1
    lines = []
    for parts, seen in ((alone, batch), (across, batch * processes)):
        if parts and seen < batch * passes * processes:
            shown = ', '.join(f'{part} ({count} layer{"s" * (count > 1)})' for part, count in parts.items())
            lines.append(
                f'Batch statistics of {shown} are of {seen} samples, not of the effective batch: they depend on '
                f'{"the number of processes and " if parts is alone else ""}max_batch_per_device'
            )
    return lines


def precision_lines(cfg: Config, dtype: str) -> List[str]:
    """float32 because the hardware has no fast bf16, or bf16 that the hardware only imitates."""
    device = 'cuda' if usable_gpus() else 'cpu'
    name = torch.cuda.get_device_name() if device == 'cuda' else cpu_name()
    wrappers = cfg.get('optim_wrapper') or {}
    wrappers = [wrappers] if 'optimizer' in wrappers else [w for w in wrappers.values() if isinstance(w, dict)]
    asked = {w.get('dtype', 'auto') for w in wrappers if str(w.get('type')).endswith('AutocastOptimWrapper')}
    if 'auto' in asked and dtype == 'float32':
        return [
            f'Precision float32: {name} has no fast bf16 arithmetic. On hardware that has it this config trains in '
            'bf16; optim_wrapper.dtype=float32 keeps float32 everywhere'
        ]
    if 'bfloat16' in asked and not has_fast_bf16(device):
        return [f'Precision bf16, as asked for, which {name} only imitates: optim_wrapper.dtype=float32 is faster here']
    return []
