"""Step time of a segmentor with our dense ViT, against the same one with mmseg's own MAE backbone.

    python tools/benchmarks/benchmark_dense.py --batch 2 --steps 6 --out dense.json
    python tools/benchmarks/benchmark_dense.py configs/downstream/segmentation/vit-l_upernet_160k.py --dtypes bfloat16

A step is the config's model (UperNet on ViT-B at 512 x 512 by default) from uint8 images and masks to the update:
preprocessing, forward, backward, and the config's optimizer with one group for all parameters. mmseg's segmentor
differs in its backbone alone, which computes the same: mmseg's has BEiT's relative positions in every block, so the
config needs `relative_positions='separate'` and no windows. (It also has a layer scale, and trains its position table.)

A round is a step of each, in alternating order and in one process, so that a noisy machine hits both; ratios are of
medians.
"""

import argparse
import copy
from typing import Any, Dict, List

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData

from libraries import OURS
from mmmim.config.load import load_config
from mmmim.config.prepare import set_up_scope
from mmmim.config.segmentation import settle_segmentor
from mmmim.engine.hardware import keep_freed_memory
from mmmim.models.backbones.dense.base import default_outputs
from mmmim.models.backbones.vit import resolve_architecture
from mmmim.models.patches import to_2tuple
from script import DTYPES, Result, add_device, add_out, at_least, make_parser, processor, run
from timing import PHASES, PhaseTimer, TimedSteps, TrainingStep, by_phase, interleave, milliseconds, summarize

MMSEG = 'mmseg'
CONFIG = 'configs/downstream/segmentation/vit-b_upernet_160k.py'


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('config', nargs='?', default=CONFIG, help=f'of a segmentor (default: {CONFIG})')
    parser.add_argument('--batch', type=at_least(1), default=2, help='images a step')
    parser.add_argument('--steps', type=at_least(1), default=6, help='timed rounds')
    parser.add_argument('--warmup', type=at_least(0), default=1, help='rounds before them that are not counted')
    parser.add_argument('--dtypes', nargs='+', default=DTYPES, choices=DTYPES)
    add_device(parser)
    add_out(parser)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    return parser.parse_args()


def mmseg_backbone(ours: Dict[str, Any]) -> Dict[str, Any]:
    """mmseg's MAE with the sizes of a ``DenseViT``'s config.

    Raises:
        ValueError: The config has what mmseg's does not have, or lacks what it always has.
    """
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
    from mmseg.structures import SegDataSample

    height, width = cfg.model.data_preprocessor.size
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(batch):
        classes = torch.randint(cfg.model.decode_head.num_classes, (1, height, width), generator=generator)
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=classes), metainfo=dict(img_shape=(height, width))))
    images = torch.randint(256, (batch, 3, height, width), dtype=torch.uint8, generator=generator)
    return dict(inputs=list(images), data_samples=samples)


def make_step(cfg: Config, backbone: Dict[str, Any], dtype: str, timer: PhaseTimer) -> TrainingStep:
    """A training step of the config's segmentor with this backbone, from random initialisation."""
    from mmseg.registry import MODELS, OPTIMIZERS

    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(dict(copy.deepcopy(cfg.model), backbone=dict(backbone, init_cfg=None)))
        model.to(timer.device).train()
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = OPTIMIZERS.build(dict(cfg.optim_wrapper.optimizer, params=trained))
    return TrainingStep(
        model,
        optimizer,
        lambda data: model.parse_losses(model(**data, mode='loss'))[0],
        timer,
        getattr(torch, dtype),
        prepare=lambda batch: model.data_preprocessor(batch, True),
    )


def compare(cfg: Config, dtype: str, args: argparse.Namespace) -> Dict[str, Any]:
    """Seconds of the steps of both, by phase, and the ratio of their medians."""
    steps = {}
    for name, backbone in {OURS: cfg.model.backbone, MMSEG: mmseg_backbone(cfg.model.backbone)}.items():
        timer = PhaseTimer(torch.device(args.device))
        step = make_step(cfg, backbone, dtype, timer)
        steps[name] = TimedSteps(step, random_batch(cfg, args.batch), timer)
    rounds = interleave(steps, args.steps, args.warmup, f'Measuring {dtype}')
    seconds = {
        name: {phase: summarize(values) for phase, values in by_phase(found).items()} for name, found in rounds.items()
    }
    ratio = seconds[OURS]['step']['median'] / seconds[MMSEG]['step']['median']
    return dict(seconds=seconds, turns=rounds, ours_over_mmseg=ratio)


def measure(args: argparse.Namespace) -> Result:
    """Everything, as the JSON file has it."""
    keep_freed_memory()
    cfg = load_config(args.config, args.cfg_options)
    if cfg.model.get('type') != 'EncoderDecoder':
        raise ValueError(f'{args.config} is no config of a segmentor: its model is {cfg.model.get("type")}')
    set_up_scope(cfg)
    settle_segmentor(cfg)
    size = list(cfg.model.data_preprocessor.size)
    return dict(size=size, dtypes={dtype: compare(cfg, dtype, args) for dtype in args.dtypes})


def show(result: Result) -> None:
    """Print the lines."""
    size = 'x'.join(map(str, result['size']))
    print(f'{result["config"]}: {size}, batch {result["batch"]}, {processor(result)}')
    for dtype, found in result['dtypes'].items():
        for name, phases in found['seconds'].items():
            step = milliseconds(phases['step'])
            parts = ', '.join(f'{phase} {milliseconds(phases[phase])["median"]}' for phase in PHASES[1:])
            print(f'{dtype:8s} {name:5s} step {step["median"]:>6s} ms (quartiles {step["q1"]}-{step["q3"]}): {parts}')
        print(f'{dtype:8s} {OURS} over {MMSEG}: {found["ours_over_mmseg"]:.3f} of the step time')


if __name__ == '__main__':
    run(parse_args(), measure, show)
