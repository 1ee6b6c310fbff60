"""What the doctor tries, each in a process of its own: `python probes.py NAME ANSWER.json CONTEXT_AS_JSON`.

A probe returns what it found, as values for JSON (``detail``: words for the table; ``note``: something that works but
is worth knowing), or raises. Libraries are imported inside the probes, so that this file runs in any environment.
"""

import faulthandler
import importlib
import importlib.util
import json
import os
import sys
import time
import traceback
from typing import Any, Callable, Dict

HERE = os.path.dirname(os.path.abspath(__file__))

Found = Dict[str, Any]


# ---- parts: imported, and used once ----

# what is imported besides the package itself, which often holds little
DEEPER = dict(
    mmengine='mmengine.runner',
    mmcv='mmcv.transforms',
    mmpretrain='mmpretrain.models',
    mmseg='mmseg.models',
    timm='timm.layers',
    sklearn='sklearn.linear_model',
    skimage='skimage.feature',
    PIL='PIL.Image',
    safetensors='safetensors.torch',
)


def import_part(context: Dict[str, Any]) -> Found:
    name = context['module']
    module = importlib.import_module(name)
    if name in DEEPER:
        importlib.import_module(DEEPER[name])
    found = dict(version=getattr(module, '__version__', None), file=getattr(module, '__file__', None))
    return {**found, **USED_ONCE.get(name, lambda module: {})(module)}


def use_torch(torch: Any) -> Found:
    torch.ones(2).numpy()  # fails when torch was built for another NumPy
    return dict(cuda=torch.version.cuda, hip=torch.version.hip, available=torch.cuda.is_available())


def use_torchvision(torchvision: Any) -> Found:
    import torch

    torchvision.ops.nms(torch.tensor([[0.0, 0, 1, 1]]), torch.ones(1), 0.5)  # a compiled op, so it fits this torch
    return {}


def use_cv2(cv2: Any) -> Found:
    import numpy as np

    cv2.resize(np.zeros((4, 4, 3), np.uint8), (2, 2))
    return {}


USED_ONCE: Dict[str, Callable[[Any], Found]] = dict(torch=use_torch, torchvision=use_torchvision, cv2=use_cv2)


def mmcv_ops(context: Dict[str, Any]) -> Found:
    """Whether mmcv has compiled ops, and whether they run with the torch that is installed."""
    folders = find('mmcv').submodule_search_locations
    if not any(name.startswith('_ext.') for folder in folders for name in os.listdir(folder)):
        return dict(compiled=False)
    import torch
    from mmcv.ops import nms

    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]])
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    _, kept = nms(boxes.to(device), torch.tensor([0.9, 0.8, 0.7]).to(device), 0.5)
    if kept.tolist() != [0, 2]:
        raise RuntimeError(f"mmcv's nms kept boxes {kept.tolist()} instead of [0, 2]")
    import runpy  # this folder is not on the path

    ops = runpy.run_path(os.path.join(HERE, 'compiled_ops.py'))['installed']()
    words = f'compiled for torch {ops.torch}' if ops and ops.torch else 'compiled'
    return dict(compiled=True, compiled_for=ops and ops.torch, detail=f'{words}, run on {device}')


def find(name: str) -> Any:
    """The spec of a package, without the seconds that importing it takes."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f'No module named {name!r}', name=name)
    return spec


# ---- what can be done ----


def pre_training(context: Dict[str, Any]) -> Found:
    """Two steps of a tiny MAE, by the loop, hooks and files that every run uses."""
    import math

    import torch

    from mmmim.engine.launch import build_runner, load_config

    folder, configs = context['folder'], os.path.join(context['configs'], '_base_')
    draw_images(os.path.join(folder, 'images'), 16)
    bases = [
        os.path.join(configs, *parts)
        for parts in (('models', 'mae_vit.py'), ('schedules', 'mae_adamw.py'), ('default_runtime.py',))
    ]
    path = os.path.join(folder, 'tiny.py')
    with open(path, 'w') as file:
        file.write(TINY_MAE.format(bases=bases, images=os.path.join(folder, 'images')))
    runner = build_runner(load_config(path, work_dir=os.path.join(folder, 'run')))
    runner.train()
    with open(os.path.join(folder, 'run', 'curve.jsonl')) as file:
        losses = [json.loads(line)['loss'] for line in file]
    if len(losses) != 2 or not all(map(math.isfinite, losses)):
        raise RuntimeError(f'two steps should have left two finite losses; they left {losses}')
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else 'the CPU'
    dtype = str(runner.optim_wrapper.dtype).replace('torch.', '')
    return dict(detail=f'a tiny MAE trained for 2 steps on {where}, in {dtype}')


TINY_MAE = """
_base_ = {bases!r}
model = dict(backbone=dict(arch=dict(_delete_=True, embed_dim=32, depth=1, num_heads=2), img_size=16, patch_size=4),
             neck=dict(embed_dim=16, depth=1, num_heads=2))
total_batch_size = 8
max_epochs = 1
warmup_epochs = 0
train_dataloader = dict(
    batch_size=8, num_workers=1, sampler=dict(type='EpochSampler', shuffle=True),
    collate_fn=dict(type='mmmim.mim_collate'),
    dataset=dict(type='ImageFolder', data_root={images!r}, pipeline=[
        dict(type='LoadImage'), dict(type='RandomResizedCrop', size=16), dict(type='RandomFlip'),
        dict(type='PackImage')]))
"""


def draw_images(folder: str, count: int) -> None:
    import numpy as np
    from PIL import Image

    os.makedirs(folder)
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(os.path.join(folder, f'{i:02d}.jpg'))


def toolbox_model(context: Dict[str, Any]) -> Found:
    """A tiny model of mmpretrain, mmseg or mmdet."""
    import runpy

    find(context['module'])
    return runpy.run_path(os.path.join(HERE, 'toolbox_models.py'))[context['task']](context)


def gpu(context: Dict[str, Any]) -> Found:
    import torch

    if not torch.cuda.is_available():
        if torch.version.cuda or torch.version.hip:
            torch.cuda.init()  # says why
        return dict(available=False)
    import torch.distributed as dist

    x = torch.randn(512, 512, device='cuda')
    torch.testing.assert_close((x @ x).cpu(), x.cpu() @ x.cpu(), rtol=1e-2, atol=1e-1)
    if dist.is_nccl_available():
        dist.init_process_group('nccl', init_method=f'file://{context["folder"]}/nccl', rank=0, world_size=1)
        dist.all_reduce(x)
        torch.cuda.synchronize()
        dist.destroy_process_group()
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    shown = f'{len(names)} x {names[0]}' if len(set(names)) == 1 else ', '.join(names)
    free, total = (amount / 2**30 for amount in torch.cuda.mem_get_info())
    found = dict(available=True, detail=f'{shown}, CUDA {torch.version.cuda}, {free:.0f} of {total:.0f} GiB free')
    if not dist.is_nccl_available():
        found['note'] = 'this torch has no NCCL: one GPU only'
    return found


def bf16(context: Dict[str, Any]) -> Found:
    """Autocast to bf16, and the speed of its matrix product beside float32's (on a CPU: of one core)."""
    import torch

    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    native = torch.cuda.is_bf16_supported(including_emulation=False) if device == 'cuda' else cpu_has_bf16()
    torch.set_num_threads(1)  # threads that wait for one another would measure the other checks
    size = 4096 if device == 'cuda' else 768
    single = torch.randn(size, size, device=device)
    half = single.bfloat16()
    with torch.autocast(device, torch.bfloat16):
        product = single @ single
    if product.dtype != torch.bfloat16 or not torch.isfinite(product).all():
        raise RuntimeError(f'a product under autocast came out as {product.dtype}')
    best = {torch.float32: float('inf'), torch.bfloat16: float('inf')}
    for _ in range(15):  # by turns, and the best of each: other checks run beside this one
        for x in (single, half):
            start = time.perf_counter()
            product = x @ x
            if device == 'cuda':
                torch.cuda.synchronize()
            best[x.dtype] = min(best[x.dtype], time.perf_counter() - start)
    detail = f'a matrix product takes {best[torch.bfloat16] / best[torch.float32]:.2f} of the time that float32 takes'
    if native:
        return dict(detail=detail)
    return dict(
        note=f'this {device.upper()} has no bf16 arithmetic of its own: {detail}. Training picks float32 here '
        "by itself (optim_wrapper.dtype='auto')"
    )


def cpu_has_bf16() -> bool:
    import torch

    if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported():
        return True
    try:
        with open('/proc/cpuinfo') as file:
            return any(line.startswith('Features') and ' bf16' in line for line in file)  # Arm
    except OSError:
        return False


def compiling(context: Dict[str, Any]) -> Found:
    """torch.compile, with the kernel that it generates for this device."""
    import torch

    device = 'cuda' if torch.cuda.is_available() else 'cpu'

    def function(x: Any) -> Any:
        return torch.nn.functional.gelu(x) * 2 + 1

    x = torch.randn(64, 64, device=device)
    torch.testing.assert_close(torch.compile(function)(x), function(x))
    return dict(detail=f'torch.compile generated a kernel that runs on the {device.upper()}')


def processes(context: Dict[str, Any]) -> Found:
    """Two processes under torchrun, as tools/dist_train.sh starts them, add numbers through gloo."""
    import subprocess

    worker = os.path.join(context['folder'], 'worker.py')
    with open(worker, 'w') as file:
        file.write(
            'import torch, torch.distributed as dist\n'
            "dist.init_process_group('gloo')\n"
            'x = torch.tensor([dist.get_rank() + 1.0])\n'
            'dist.all_reduce(x)\n'
            "assert x.item() == 3, f'1 + 2 came out as {x.item()}'\n"
            'dist.destroy_process_group()\n'
        )
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', worker]
    done = subprocess.run(
        command,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if 'Error' in line and 'ChildFailedError' not in line]
        print(done.stdout)
        raise RuntimeError(lines[0] if lines else f'torchrun ended with {done.returncode}')
    return dict(detail='2 processes under torchrun added numbers through gloo')


PROBES: Dict[str, Callable[[Dict[str, Any]], Found]] = {
    'part': import_part,
    'compiled ops': mmcv_ops,
    'pre-training': pre_training,
    'toolbox model': toolbox_model,
    'GPU': gpu,
    'bf16': bf16,
    'compile': compiling,
    'several processes': processes,
}


# ---- answering ----


def explain(error: BaseException) -> Found:
    """An exception as an answer; libraries often wrap what really happened, so the first cause is told too."""
    first = error
    while first.__cause__ is not None or (first.__context__ is not None and not first.__suppress_context__):
        first = first.__cause__ or first.__context__
    lines = [traceback.format_exception_only(type(e), e)[-1].strip() for e in (error, first)]
    return dict(
        ok=False,
        kind=type(error).__name__,
        error=lines[0],
        cause=lines[1],
        missing=getattr(first, 'name', None) if isinstance(first, ModuleNotFoundError) else None,
        trace=traceback.format_exc(),
    )


def main() -> None:
    name, path, context = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder or '.') != HERE]
    if context['checkout'] and name != 'part':
        sys.path.insert(0, context['checkout'])  # the mmmim that lies beside this doctor
    faulthandler.dump_traceback_later(max(1.0, context['timeout'] - 3), exit=False)  # shows where it hangs
    try:
        answer = dict(PROBES[name](context), ok=True)
    except BaseException as error:  # SystemExit too: some libraries exit when they are not pleased
        answer = explain(error)
    with open(path + '.part', 'w', encoding='utf-8') as file:
        json.dump(answer, file)
    os.replace(path + '.part', path)
    sys.stdout.flush()
    os._exit(0)  # the answer stands: an error while libraries are unloaded is not one of what was tried


if __name__ == '__main__':
    main()
