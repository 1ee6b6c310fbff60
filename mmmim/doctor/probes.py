"""The probes of the doctor, each run in a separate process: `python probes.py NAME ANSWER.json CONTEXT_AS_JSON`.

A probe returns its findings as JSON values (``detail``: text for the table), or raises. Libraries are imported inside
the probes, so that this file runs in any environment.
"""

import importlib
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))

Found = dict[str, Any]


def import_part(context: Found) -> Found:
    """Import a library, and use it once where an import alone is no sufficient test."""
    importlib.import_module(context['module'])
    module = sys.modules[context['module'].partition('.')[0]]
    use = globals().get(f'use_{module.__name__}', lambda module: None)
    found = dict(version=getattr(module, '__version__', None), file=getattr(module, '__file__', None))
    return found | (use(module) or {})


def use_torch(torch: Any) -> Found:
    torch.ones(2).numpy()  # fails when torch was built for another NumPy
    return dict(cuda=torch.version.cuda or torch.version.hip)


def use_torchvision(torchvision: Any) -> None:
    import torch

    torchvision.ops.nms(torch.tensor([[0.0, 0, 1, 1]]), torch.ones(1), 0.5)  # a compiled op, so it fits this torch


def use_mmcv(mmcv: Any) -> Found | None:
    import torch

    try:
        ops = importlib.import_module('mmcv._ext')
        ops.nms(torch.ones(1, 4), torch.ones(1), iou_threshold=0.5, offset=0)
    except Exception as error:  # compiled ops are optional, but installed ones should load and run
        return None if isinstance(error, ModuleNotFoundError) else dict(ops=str(error).partition('\n')[0])


def pre_training(context: Found) -> Found:
    """Two steps of the quickstart's MAE, with the loop, hooks and files of every run."""
    import numpy as np
    import torch
    from PIL import Image

    from mmmim.config.load import load_config
    from mmmim.engine.launch import build_runner

    images, run = Path(context['folder'], 'images'), Path(context['folder'], 'run')
    images.mkdir()
    for i in range(16):
        Image.fromarray(np.full((96, 96, 3), 16 * i, np.uint8)).save(images / f'{i}.jpg')
    settings = dict(total_batch_size=8, max_epochs=1, warmup_epochs=0, custom_hooks=[])
    settings.update({'train_dataloader.dataset.data_root': str(images), 'train_dataloader.num_workers': 1})
    runner = build_runner(load_config(os.path.join(context['configs'], 'quickstart/mae.py'), settings, str(run)))
    runner.train()
    losses = [json.loads(line)['loss'] for line in (run / 'curve.jsonl').read_text().splitlines()]
    if len(losses) != 2 or not all(loss < float('inf') for loss in losses):
        raise RuntimeError(f'two steps should have left two finite losses; they left {losses}')
    where, dtype = torch.cuda.get_device_name() if torch.cuda.is_available() else 'the CPU', runner.optim_wrapper.dtype
    dtype = 'bf16' if dtype == torch.bfloat16 else 'float32, as it has no bf16 arithmetic of its own'
    return dict(detail=f'a small MAE trained for 2 steps on {where}, in {dtype}')


def detection(context: Found) -> Found:
    """Mask R-CNN of mmdet on a small ResNet: loss, gradient and prediction."""
    from mmmim.models.mmcv_ops import provide_ops

    provide_ops()
    import mmdet
    import torch
    from mmdet.registry import MODELS
    from mmdet.testing import demo_mm_inputs
    from mmdet.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules()
    cfg = Config.fromfile(f'{mmdet.__path__[0]}/.mim/configs/_base_/models/mask-rcnn_r50_fpn.py').model
    cfg.backbone.update(depth=18, base_channels=8, init_cfg=None)
    cfg.neck.update(in_channels=[8, 16, 32, 64])
    model = MODELS.build(cfg)
    batch = model.data_preprocessor(demo_mm_inputs(1, [[3, 64, 64]], with_mask=True), training=True)
    loss, _ = model.parse_losses(model(**batch, mode='loss'))
    loss.backward()
    with torch.no_grad():
        found = model.eval()(**batch, mode='predict')[0].pred_instances
    if not torch.isfinite(loss) or 'masks' not in found:
        raise RuntimeError(f'a tiny Mask R-CNN has the loss {loss.item()} and predicts {found}')
    return dict(detail='a tiny Mask R-CNN learnt and predicted')


def gpu(context: Found) -> Found:
    import torch
    import torch.distributed as dist

    torch.cuda.init()  # its error says why there is none
    x = torch.randn(512, 512, device='cuda')
    torch.testing.assert_close((x @ x).cpu(), x.cpu() @ x.cpu(), rtol=1e-2, atol=1e-1)
    dist.init_process_group('nccl', init_method=f'file://{context["folder"]}/nccl', rank=0, world_size=1)
    dist.all_reduce(x)
    return dict(detail=f'{torch.cuda.device_count()} x {torch.cuda.get_device_name()}, CUDA {torch.version.cuda}')


def compiling(context: Found) -> Found:
    """torch.compile, with the kernel that it generates for this device."""
    import torch

    x = torch.randn(64, 64, device='cuda' if torch.cuda.is_available() else 'cpu')
    torch.testing.assert_close(torch.compile(torch.nn.GELU())(x), torch.nn.GELU()(x))
    return dict(detail=f'torch.compile generated a kernel that runs on {x.device.type}')


WORKER = """import torch, torch.distributed as dist; dist.init_process_group('gloo')
dist.all_reduce(x := torch.tensor([dist.get_rank() + 1.0]))
dist.destroy_process_group()
assert x.item() == 3, f'1 + 2 came out as {x.item()}'"""


def processes(context: Found) -> Found:
    """Two processes under torchrun, as tools/dist_train.sh starts them, add numbers through gloo."""
    launcher = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', '--no-python']
    command = [*launcher, sys.executable, '-c', WORKER]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print(done.stdout)
        lines = [line for line in done.stdout.splitlines() if 'Error' in line and 'ChildFailedError' not in line]
        raise RuntimeError(lines[0] if lines else f'torchrun ended with {done.returncode}')
    return dict(detail='2 processes under torchrun added numbers through gloo')


PROBES = {'pre-training': pre_training, 'compile': compiling, 'several processes': processes}
PROBES |= {'detection': detection, 'GPU': gpu}  # all others are libraries


def explain(error: BaseException) -> Found:
    """An exception as an answer; libraries often wrap the real error, so the first cause is added."""
    first = error
    while first.__cause__ is not None or (first.__context__ is not None and not first.__suppress_context__):
        first = first.__cause__ or first.__context__
    words, cause = (traceback.format_exception_only(type(e), e)[-1].strip() for e in (error, first))
    missing = first.name if isinstance(first, ModuleNotFoundError) else None
    found = dict(ok=False, kind=type(error).__name__, error=words, cause=cause, missing=missing)
    return dict(found, trace=traceback.format_exc())


def main() -> None:
    name, path, context = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder or '.') != HERE]
    if context['checkout'] and name in PROBES:
        sys.path.insert(0, context['checkout'])  # the mmmim beside this doctor
    try:
        answer = dict(PROBES.get(name, import_part)(context), ok=True)
    except BaseException as error:  # SystemExit too: some libraries exit on errors
        answer = explain(error)
    Path(path).write_text(json.dumps(answer), encoding='utf-8')
    sys.stdout.flush()
    os._exit(0)  # the answer is written: an error while libraries are unloaded does not count


if __name__ == '__main__':
    main()
