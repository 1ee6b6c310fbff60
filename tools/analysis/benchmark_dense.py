"""Step time of a segmentor with our dense ViT, against the same one with mmseg's own MAE backbone.

    python tools/analysis/benchmark_dense.py --batch 2 --steps 6 --out dense.json
    python tools/analysis/benchmark_dense.py configs/downstream/segmentation/vit-l_upernet_160k.py --dtypes bfloat16

A step is the config's model (UperNet on ViT-B at 512 x 512 by default) from uint8 images and masks to the update:
preprocessing, forward, backward, and the config's optimizer with one group for all parameters. The other contender
differs in its backbone alone, which computes the same: mmseg's has BEiT's relative positions in every block, so the
config needs `relative_positions='separate'` and no windows. (It also has a layer scale, and trains its position table.)

The two take turns in one process, in alternating order, so that a noisy machine hits both; ratios are of medians.
"""

import argparse
import copy
import itertools
import json
import os
import shlex
import sys
from typing import Any, Callable, Dict, List

import torch
from mmengine.config import Config, DictAction

OURS, MMSEG = 'mmmim', 'mmseg'
CONFIG = 'configs/downstream/segmentation/vit-b_upernet_160k.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', nargs='?', default=CONFIG, help=f'of a segmentor (default: {CONFIG})')
    parser.add_argument('--batch', type=int, default=2, help='images a step')
    parser.add_argument('--steps', type=int, default=6, help='timed turns of each')
    parser.add_argument('--warmup', type=int, default=1, help='turns before them that are not counted')
    parser.add_argument('--dtypes', nargs='+', default=['bfloat16', 'float32'], choices=['bfloat16', 'float32'])
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--out', help='write what was measured to this JSON file')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    args = parser.parse_args()
    if min(args.batch, args.steps, args.warmup + 1) < 1:
        parser.error('--batch and --steps must be at least 1, --warmup at least 0')
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: torch finds no GPU here')
    return args


def mmseg_backbone(ours: Dict[str, Any]) -> Dict[str, Any]:
    """mmseg's MAE with the sizes of a ``DenseViT``'s config.

    Raises:
        ValueError: The config has what mmseg's does not have, or lacks what it always has.
    """
    from mmmim.models.backbones.dense.base import default_outputs
    from mmmim.models.backbones.vit import resolve_architecture
    from mmmim.models.patches import to_2tuple

    if ours['type'] != 'mmmim.DenseViT' or ours.get('relative_positions') != 'separate' or ours.get('window_size'):
        raise ValueError(
            "mmseg's backbone is a DenseViT with relative_positions='separate' and no windows: take such "
            'a config, or set them by --cfg-options model.backbone.KEY=VALUE'
        )
    embed_dim, depth, num_heads, mlp_ratio = resolve_architecture(ours.get('arch', 'base'))
    return dict(
        type='mmseg.MAE',
        img_size=to_2tuple(ours['img_size']),
        patch_size=ours.get('patch_size', 16),
        in_channels=ours.get('in_chans', 3),
        embed_dims=embed_dim,
        num_layers=depth,
        num_heads=num_heads,
        mlp_ratio=int(mlp_ratio),
        out_indices=list(ours.get('out_indices') or default_outputs(depth)),
        drop_path_rate=ours.get('drop_path_rate', 0.0),
        norm_cfg=dict(type='LN', eps=1e-6),
        final_norm=ours.get('final_norm', False),
    )


def random_batch(cfg: Config, batch: int) -> Dict[str, List[Any]]:
    """Noise and random classes, in the form that the config's loader gives a batch."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    height, width = cfg.model.data_preprocessor.size
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(batch):
        classes = torch.randint(cfg.model.decode_head.num_classes, (1, height, width), generator=generator)
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=classes), metainfo=dict(img_shape=(height, width))))
    images = torch.randint(256, (batch, 3, height, width), dtype=torch.uint8, generator=generator)
    return dict(inputs=list(images), data_samples=samples)


def make_step(cfg: Config, backbone: Dict[str, Any], dtype: str, timer) -> Callable[[Dict[str, Any]], None]:
    """A training step of the config's segmentor with this backbone, from random initialisation."""
    from mmengine.registry import DefaultScope
    from mmseg.registry import MODELS, OPTIMIZERS

    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(dict(copy.deepcopy(cfg.model), backbone=dict(backbone, init_cfg=None)))
        model.to(timer.device).train()
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = OPTIMIZERS.build(dict(cfg.optim_wrapper.optimizer, params=trained))

    def step(batch: Dict[str, Any]) -> None:
        data = model.data_preprocessor(batch, True)
        with torch.autocast(timer.device.type, getattr(torch, dtype), enabled=dtype != 'float32'):
            loss, _ = model.parse_losses(model(**data, mode='loss'))
        with timer.phase('backward'):
            loss.backward()
        with timer.phase('optimizer'):
            optimizer.step()
            optimizer.zero_grad()

    return step


def take_turns(cfg: Config, dtype: str, args: argparse.Namespace) -> Dict[str, Any]:
    """Seconds of the steps of both, by phase, and the ratio of their medians."""
    from mmmim.analysis.timing import PhaseTimer, run_steps, summarize
    from mmmim.progress import track

    backbones = {OURS: dict(cfg.model.backbone), MMSEG: mmseg_backbone(cfg.model.backbone)}
    timers = {name: PhaseTimer(torch.device(args.device)) for name in backbones}
    steps = {name: make_step(cfg, backbone, dtype, timers[name]) for name, backbone in backbones.items()}
    batches = itertools.repeat(random_batch(cfg, args.batch))
    turns: Dict[str, List[Dict[str, float]]] = {name: [] for name in steps}
    for turn in track(range(args.warmup + args.steps), f'Taking turns, {dtype}', unit='turn'):
        for name in list(steps)[:: -1 if turn % 2 else 1]:
            spent = run_steps(steps[name], batches, 1, timers[name])
            turns[name] += [spent] if turn >= args.warmup else []
    seconds = {
        name: {phase: summarize([turn[phase] for turn in found]) for phase in found[0] if phase != 'data'}
        for name, found in turns.items()
    }
    ratio = seconds[OURS]['step']['median'] / seconds[MMSEG]['step']['median']
    return dict(seconds=seconds, turns=turns, ours_over_mmseg=ratio)


def show(result: Dict[str, Any]) -> None:
    """The lines."""
    machine = result['hardware']
    where = machine['gpu'] if result['device'] == 'cuda' else f'{machine["cpu"]}, {result["threads"]} threads'
    print(f'{result["config"]}: {result["size"][0]}x{result["size"][1]}, batch {result["batch"]}, {where}')
    for dtype, found in result['dtypes'].items():
        for name, phases in found['seconds'].items():
            step = {key: f'{1000 * value:.0f}' for key, value in phases['step'].items()}
            parts = ', '.join(
                f'{phase} {1000 * phases[phase]["median"]:.0f}' for phase in ('forward', 'backward', 'optimizer')
            )
            print(f'{dtype:8s} {name:5s} step {step["median"]:>6s} ms (quartiles {step["q1"]}-{step["q3"]}): {parts}')
        print(f'{dtype:8s} {OURS} over {MMSEG}: {found["ours_over_mmseg"]:.3f} of the step time')


def measure(args: argparse.Namespace) -> Dict[str, Any]:
    """Everything, as the JSON file has it."""
    from mmmim.config.load import load_config
    from mmmim.config.prepare import set_up_scope
    from mmmim.config.segmentation import settle_segmentor
    from mmmim.engine.hardware import hardware, versions

    cfg = load_config(args.config, args.cfg_options)
    if cfg.model.get('type') != 'EncoderDecoder':
        raise ValueError(f'{args.config} is no config of a segmentor: its model is {cfg.model.get("type")}')
    set_up_scope(cfg)
    settle_segmentor(cfg)
    mmseg_backbone(cfg.model.backbone)  # an error at once
    found = {dtype: take_turns(cfg, dtype, args) for dtype in args.dtypes}
    return dict(
        command=' '.join(map(shlex.quote, ['python', *sys.argv])),
        config=args.config,
        batch=args.batch,
        steps=args.steps,
        device=args.device,
        size=list(cfg.model.data_preprocessor.size),
        threads=torch.get_num_threads(),
        hardware=hardware(),
        versions=versions(),
        dtypes=found,
    )


def main() -> None:
    args = parse_args()
    from mmmim.engine.hardware import keep_freed_memory
    from mmmim.engine.launch import USER_ERRORS, end_with

    keep_freed_memory()
    try:
        result = measure(args)
    except USER_ERRORS as error:
        end_with(error, None)
    show(result)
    if args.out:
        os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
        with open(args.out, 'w') as file:
            json.dump(result, file, indent=1)


if __name__ == '__main__':
    main()
