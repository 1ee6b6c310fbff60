"""FLOPs of a pre-training step for one image, by part, forward and backward, as the step really runs.

    python tools/benchmarks/get_flops.py configs/mae/vit-b_800e.py
    python tools/benchmarks/get_flops.py CONFIG --img-size 448 --depth 2 --out flops.json

Runs one training step of the config's algorithm, with all its phases, on noise. Matrix products and convolutions are
counted, a multiply-add (MAC) as two FLOPs; element-wise work, norms and the optimizer are not. `attention` are the two
products of queries, keys and values, without the linear layers around them; `linear` is all the rest. Fused and plain
attention count the same. The batch has two images, because batch norm needs them; numbers are for one. Where a loss
compares images with each other, they depend on the batch: --batch says which.
"""

import argparse
from typing import Any, Callable, Dict

import torch
from mmengine.config import DictAction

from flops import KINDS, PHASES
from mmmim.config.load import load_config
from mmmim.models.patches import to_2tuple
from script import DTYPES, Result, add_device, add_out, at_least, make_parser, run
from workload import count_flops, set_image_size, settle


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('config')
    parser.add_argument('--img-size', type=int, help="pixels of the square images (default: the config's)")
    parser.add_argument('--batch', type=int, default=2, help='images in the step; numbers are for one')
    parser.add_argument('--depth', type=at_least(1), default=1, help='1: parts of the algorithm; 2: their modules; ...')
    parser.add_argument('--dtype', default='float32', choices=DTYPES)
    add_device(parser, default='cpu')
    add_out(parser)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    return parser.parse_args()


def count(args: argparse.Namespace) -> Result:
    """The counts, as the JSON file has them."""
    cfg = load_config(args.config, args.cfg_options)
    settle(cfg, args.batch, args.dtype)
    if args.img_size is not None:
        set_image_size(cfg, args.img_size)
    algorithm, flops = count_flops(cfg, torch.device(args.device), args.batch)

    def cells(value: Callable[[str, str], float]) -> Dict[str, Dict[str, float]]:
        return {phase: {kind: value(phase, kind) for kind in KINDS} for phase in PHASES}

    def counts(part: str) -> Dict[str, Any]:
        own = cells(lambda phase, kind: flops.by_part(args.depth, phase, kind).get(part, 0.0))
        return dict(parameters=parameters.get(part, 0), flops=own)

    parameters = flops.parameters_by_part(args.depth)
    parts = sorted({*flops.by_part(args.depth), *parameters})
    return dict(
        method=type(algorithm).__name__,
        img_size=list(to_2tuple(algorithm.backbone.img_size)),
        unit='FLOPs for one image; a multiply-add is two',
        total=dict(parameters=sum(parameters.values()), flops=cells(flops.total)),
        parts={part: counts(part) for part in parts},
    )


def show(result: Result) -> None:
    """Print the table: multiply-adds in each cell, FLOPs in the last column."""
    size, total = 'x'.join(map(str, result['img_size'])), result['total']['flops']
    scale, prefix = (1e9, 'G') if sum(total['forward'].values()) >= 2e9 else (1e6, 'M')
    print(f'{result["method"]}, {size} px, one image ({result["config"]})\n')
    width = max(len(part) for part in (*result['parts'], 'total')) + 2
    phases = ''.join(f'  {f"{phase}, {prefix}MACs":>20s}' for phase in total)
    print(f'{"":{width}s}{"parameters":>13s}{phases}  {prefix + "FLOPs":>10s}')
    print(f'{"":{width}s}{"":13s}' + f'  {"linear":>9s} {"attention":>10s}' * len(total))
    for name, part in (*result['parts'].items(), ('total', result['total'])):
        cells = ''.join(
            f'  {kinds["linear"] / 2 / scale:9.3f} {kinds["attention"] / 2 / scale:10.3f}'
            for kinds in part['flops'].values()
        )
        flops = sum(sum(kinds.values()) for kinds in part['flops'].values())
        print(f'{name:{width}s}{part["parameters"]:13,d}{cells}  {flops / scale:10.3f}')
    forward = total['forward']
    macs, linear = sum(forward.values()) / 2 / scale, forward['linear'] / 2 / scale
    print(f'\nForward: {macs:.3f} {prefix}MACs, {linear:.3f} without the products of attention.')


if __name__ == '__main__':
    run(parse_args(), count, show)
