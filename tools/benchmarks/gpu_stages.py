"""What `gpu_check.py` runs, a stage a process: `python gpu_stages.py STAGE FOLDER` prints what came as a line of JSON.

Without a GPU (`gpu_check.py --cpu` hides it) models are tiny, and steps two.
"""

import copy
import gc
import importlib.util
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import traceback
import warnings
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image

from mmmim.checkpoint import load_file
from mmmim.config.load import load_config
from mmmim.datasets import ImageFolder, SampleIndex, SeededDataset
from mmmim.datasets.io.encoded import decode_crops
from processes import timed_steps
from workload import build, count_flops, default_batch, fit_target, settle, synthetic_batch

ROOT = Path(__file__).resolve().parents[2]
GPU = torch.cuda.is_available()
DEVICE = torch.device('cuda' if GPU else 'cpu')
METHODS = ('mae', 'cmae', 'gan_mae', 'vision_electra', 'crossmae')
TINY = dict(embed_dim=64, depth=2, num_heads=2)
WARMUP = 4  # steps: both turns of players that alternate, the optimizers' state, compilation
LEFT_OUT = 77  # exit code of a stage that lacks something, as in Automake's tests
JPEG_TOLERANCE = 2.0  # grey levels on average, as in torchvision's tests of nvJPEG
SCATTER = 10  # times the difference of two runs that nothing interrupts, where a device adds in any order
Found = Dict[str, Any]  # 'detail' is a sentence for the table, all else is for the JSON file

# TFLOP/s of dense bf16 products, from NVIDIA's data sheets of each (which state twice that, with sparsity, from the
# Hopper and Ada generations on) and, for GeForce cards, its architecture white papers (sums in float32); the first
# name that stands in the device's as a whole word counts. The power limit of a card may keep it from its peak.
PEAKS = {
    'B200': 2250, 'GH200': 989, 'H200 NVL': 835, 'H200': 989, 'H100 NVL': 835, 'H100 PCIe': 756, 'H100': 989,
    'A100': 312, 'A40': 150, 'A30': 165, 'A10': 125, 'L40S': 362, 'L40': 181, 'L4': 121,
    'RTX 4090': 165, 'RTX 3090': 71,
}  # fmt: skip


def peak_flops(device: str) -> Optional[float]:
    """FLOP/s of a device by its name; None for one that is not in the table, or a part of one (MIG)."""
    names = [] if 'MIG' in device else [name for name in PEAKS if re.search(rf'\b{name}\b', device)]
    return PEAKS[names[0]] * 1e12 if names else None


def run_program(*command: Any, code: int = 0, **variables: str) -> str:
    """What a program prints. Raises RuntimeError with its first error where it ends with another code."""
    paths = f'{ROOT}{os.pathsep}{ROOT / "tests"}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'
    env = {**os.environ, 'PYTHON': sys.executable, 'PYTHONPATH': paths, **variables}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT, env=env)
    if done.returncode != code:
        print(done.stdout[-3000:], done.stderr[-5000:], file=sys.stderr)
        why = re.search(r'^E? *([\w.]*Error\b.*)', done.stdout + done.stderr, re.M)
        raise RuntimeError(f'ended with {done.returncode}: {why[1] if why else done.stderr[-500:]}')
    return done.stdout


def write_config(folder: Path, base: str, **settings: Any) -> Path:
    """A run's config on 64 JPEGs of random smooth colours, measuring only its loss: ``base`` of configs/, and more."""
    loader = dict(num_workers=2, dataset=dict(data_root=str(make_images(folder))))
    shared = dict(train_dataloader=loader, custom_hooks=[], val_dataloader=None, val_cfg=None, val_evaluator=None)
    settings = {'_base_': str(ROOT / 'configs' / base), **shared, **settings}
    (folder / 'config.py').write_text(''.join(f'{key} = {value!r}\n' for key, value in settings.items()))
    return folder / 'config.py'


def make_images(folder: Path) -> Path:
    """The images, 256 px, in two class folders."""
    rng = np.random.default_rng(0)
    for number in range(64):
        path = folder / 'images' / f'class{number % 2}' / f'{number}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        colours = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        colours.resize((256, 256), Image.Resampling.BICUBIC).save(path, quality=95)
    return folder / 'images'


def check_losses(work_dir: Path, steps: int) -> List[float]:
    """The losses of a run. Raises RuntimeError where one is not finite, or there are fewer or more."""
    lines = [json.loads(line) for line in (work_dir / 'curve.jsonl').read_text().splitlines()]
    losses = [line['loss'] for line in lines if 'loss' in line]
    if len(losses) != steps or not np.isfinite(losses).all():
        raise RuntimeError(f'{steps} finite losses are asked, these came: {losses}')
    return losses


def pytest_gpu(folder: Path) -> Found:
    """The tests that are marked gpu."""
    files = [path for path in sorted((ROOT / 'tests').rglob('test_*.py')) if 'mark.gpu' in path.read_text()]
    printed = run_program(sys.executable, '-m', 'pytest', '-qmgpu', '-pno:cacheprovider', *files)
    last = printed.strip().splitlines()[-1]
    if GPU and 'passed' not in last:
        raise RuntimeError(f'no test ran: {last}')
    return dict(detail=last.strip('= '))


def compile_parts(node: Any) -> None:
    """Let all parts of a model's config that have blocks compile them; without a GPU they are only traced."""
    if isinstance(node, dict):
        if node.get('type') in ('MaskedViT', 'MAEDecoder', 'DrawingHead'):
            node['compiled'] = True if GPU else 'aot_eager'
        for child in node.values():
            compile_parts(child)


def check_compiled(compiled: bool) -> None:
    if compiled != bool(torch._dynamo.utils.counters['frames']['ok']):
        raise RuntimeError(f'blocks were {"not " if compiled else ""}compiled')


def steps(folder: Path, method: str, compiled: bool) -> Found:
    """20 steps in which nothing may wait for the device, of a method at the quickstart's size."""
    cfg, batch, count = load_config(str(ROOT / f'configs/quickstart/{method}.py')), *((64, 20) if GPU else (4, 2))
    if compiled:
        compile_parts(cfg.model)
    settle(cfg, batch, 'bfloat16')
    data = synthetic_batch(cfg, batch)
    algorithm, optim_wrapper = build(cfg, DEVICE)
    fit_target(algorithm, data)
    for _ in range(WARMUP):
        algorithm.train_step(data, optim_wrapper)
    if GPU:
        torch.cuda.set_sync_debug_mode('error')
    logs = [algorithm.train_step(data, optim_wrapper) for _ in range(count)]
    if GPU:
        torch.cuda.set_sync_debug_mode('default')
    values = torch.stack([value.detach().float() for log in logs for key, value in log.items() if 'loss' in key])
    if not values.isfinite().all():
        raise RuntimeError(f'losses that are not finite: {values.tolist()}')
    check_compiled(compiled)
    return dict(detail=f'{count} steps{"" if GPU else ", not checked without a GPU"}')


def nccl(folder: Path) -> Found:
    """A process of torchrun."""
    settings = dict(total_batch_size=16, max_epochs=2, warmup_epochs=1, train_cfg=dict(max_iters=5))
    config = write_config(folder, 'quickstart/mae.py', **settings)
    run_program('bash', ROOT / 'tools/dist_train.sh', config, 1, '--work-dir', folder / 'run')
    check_losses(folder / 'run', 5)
    return dict(detail=f'5 steps, {"NCCL" if GPU else "gloo, as there is no GPU"}')


def speed(folder: Path, model: str, compiled: bool) -> Found:
    """Steps of MAE at 224 px, at the config's batch or the largest half of it that the memory holds."""
    cfg = load_config(str(ROOT / f'configs/mae/{model}_800e.py'))
    if not GPU:
        cfg.model.backbone.arch = TINY
        cfg.model.neck.update(TINY)
    if compiled:
        compile_parts(cfg.model)
    batch = wanted = default_batch(cfg, DEVICE)
    while True:
        try:
            return measure_speed(copy.deepcopy(cfg), batch, wanted, compiled)
        except torch.OutOfMemoryError:
            if batch < 16:
                raise
        batch //= 2
        gc.collect()
        torch.cuda.empty_cache()


def measure_speed(cfg: Config, batch: int, wanted: int, compiled: bool) -> Found:
    settle(cfg, batch, 'bfloat16')
    flops = count_flops(cfg, DEVICE)[1].total()  # for an image, forward and backward
    gc.collect()  # the model that was counted
    data = synthetic_batch(cfg, batch)
    if GPU:
        torch.cuda.reset_peak_memory_stats()
    turn, turns = (5, 4) if GPU else (1, 2)
    steps = timed_steps('mmmim', cfg, data, DEVICE, torch.bfloat16, turn)
    for _ in range(WARMUP if GPU else 1):
        steps.step(data)
    rate = batch / statistics.median(steps()['step'] for _ in range(turns))
    check_compiled(compiled)
    peak = peak_flops(torch.cuda.get_device_name()) if GPU else None
    mfu = rate * flops / peak if peak else None
    memory = torch.cuda.max_memory_allocated() / 2**30 if GPU else None
    detail = f'batch {batch}{"" if batch == wanted else f" ({wanted} does not fit)"}, {rate:,.0f} images/s, MFU '
    detail += f'unknown ({flops * rate / 1e12:.3g} TFLOP/s)' if mfu is None else f'{mfu:.1%}'
    detail += f', {memory:.1f} GiB' if GPU else ''
    numbers = dict(batch=batch, images_per_second=rate, flops_per_image=flops, mfu=mfu, peak_memory_gib=memory)
    return dict(detail=detail, compiled=compiled, **numbers)


def resume(folder: Path) -> Found:
    """A run killed within an epoch and resumed, beside two that nothing interrupts: their weights."""
    settings: Found = dict(total_batch_size=16, max_epochs=3, warmup_epochs=1, custom_hooks=[dict(type='DieHook')])
    settings.update(
        default_hooks=dict(checkpoint=dict(interval=1)), custom_imports=dict(imports=['mmmim', 'run_plugin'])
    )
    config = write_config(folder, 'quickstart/mae.py', **settings)
    names = ('whole', 'again', 'killed')
    train = {name: [sys.executable, ROOT / 'tools/train.py', config, '--work-dir', folder / name] for name in names}
    run_program(*train['whole'])
    run_program(*train['again'])
    run_program(*train['killed'], code=-signal.SIGKILL, TEST_KILL_AT='6')  # of 12 steps, 4 an epoch
    load_file(str(folder / 'killed/epoch_1.pth'))  # what it goes on from
    run_program(*train['killed'], '--resume')
    whole, again, killed = (load_file(str(folder / name / 'epoch_3.pth'))['state_dict'] for name in names)

    def difference(other: Dict[str, torch.Tensor]) -> float:
        return max((other[key].double() - whole[key].double()).abs().max().item() for key in whole)

    scatter, resumed = difference(again), difference(killed)
    detail = f'weights differ by {resumed:.1e}; those of two runs without a stop by {scatter:.1e}'
    if not resumed <= SCATTER * scatter:  # also not a number
        raise RuntimeError(detail)
    return dict(detail=detail if resumed else 'bit-identical weights', difference=resumed, scatter=scatter)


def nvjpeg(folder: Path) -> Found:
    """Crops of JPEGs decoded by the device, beside those that workers decode."""
    crop = dict(type='mmmim.RandomResizedCrop', size=224)
    pipeline = [dict(type='mmmim.LoadImage', decode='device'), crop, dict(type='mmmim.PackImage')]
    data = SeededDataset(ImageFolder(str(make_images(folder)), pipeline=pipeline, with_label=False))
    crops = [data[SampleIndex(index, index)]['inputs'] for index in range(len(data))]
    with warnings.catch_warnings():
        warnings.filterwarnings('error', '.* does not decode')  # handed to the CPU
        made, _ = decode_crops(crops, DEVICE)
    theirs = torch.stack([torch.from_numpy(crop.pixels().transpose(2, 0, 1).copy()) for crop in crops]).float()
    off = (made.cpu() - theirs).abs()
    detail = f'{len(crops)} crops differ by {off.mean():.2f} grey levels on average, {off.max():.0f} at most'
    if not off.flatten(1).mean(1).max() < JPEG_TOLERANCE:
        raise RuntimeError(f'{detail}; for each, below {JPEG_TOLERANCE} on average is asked')
    return dict(detail=detail, mean=off.mean().item(), largest=off.max().item())


def finetune(folder: Path) -> Found:
    """Fine-tuning of the classification config, from random weights."""
    steps, batch = (10, 32) if GPU else (2, 4)
    settings: Found = dict(total_batch_size=batch, num_classes=2, train_cfg=dict(max_iters=steps))
    if not GPU:
        settings['model'] = dict(backbone=dict(arch=dict(TINY, _delete_=True)))
    config = write_config(folder, 'downstream/classification/vit-b_finetune_100e.py', **settings)
    run_program(sys.executable, ROOT / 'tools/train.py', config, '--work-dir', folder / 'run')
    losses = check_losses(folder / 'run', steps)
    return dict(detail=f'{steps} steps of {batch} images, loss {losses[0]:.3f} to {losses[-1]:.3f}')


class Stage(NamedTuple):
    """What runs in a folder of its own, the seconds that it takes at most on a GPU, and modules that it needs."""

    run: Callable[[Path], Found]
    seconds: int
    needs: Tuple[str, ...] = ()


def for_each(
    run: Callable[..., Found], key: str, values: Iterable[str], compiled: bool, seconds: int
) -> Dict[str, Stage]:
    end = '-compiled' if compiled else ''
    return {
        f'{run.__name__}-{value}{end}': Stage(partial(run, compiled=compiled, **{key: value}), seconds)
        for value in values
    }


# what may not fit comes last
STAGES: Dict[str, Stage] = {
    'pytest': Stage(pytest_gpu, 60, ('pytest', 'mmcv')),
    **for_each(steps, 'method', METHODS, False, 15),
    'nccl': Stage(nccl, 30),
    **for_each(speed, 'model', ('vit-s', 'vit-b'), False, 30),
    **for_each(speed, 'model', ('vit-s', 'vit-b'), True, 50),
    'resume': Stage(resume, 60),
    'nvjpeg': Stage(nvjpeg, 15),
    'finetune': Stage(finetune, 30, ('mmpretrain',)),
    **for_each(steps, 'method', METHODS, True, 50),
}


def main(name: str, folder: str) -> int:
    stage = STAGES[name]
    missing = [module for module in stage.needs if importlib.util.find_spec(module) is None]
    if missing:
        print(json.dumps(dict(detail=f'not installed: {", ".join(missing)}')))
        return LEFT_OUT
    try:
        found, code = stage.run(Path(folder)), 0
    except Exception as error:
        traceback.print_exc()
        found, code = dict(detail=f'{type(error).__name__}: {error}'), 1
    print(json.dumps(found))
    return code


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
