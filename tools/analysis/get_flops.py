"""FLOPs of a pre-training step for one image, by part, forward and backward, as the step really runs.

    python tools/analysis/get_flops.py configs/mae/vit-b_800e.py
    python tools/analysis/get_flops.py CONFIG --img-size 448 --depth 2 --out flops.json

Runs one training step of the config's algorithm, with all its phases, on noise. Matrix products and convolutions are
counted, a multiply-add (MAC) as two FLOPs; element-wise work, norms and the optimizer are not. `attention` are the two
products of queries, keys and values, without the linear layers around them; `linear` is all the rest. Fused and plain
attention count the same. The batch has two images, because batch norm needs them; numbers are for one. Where a loss
compares images with each other, they depend on the batch: --batch says which.
"""

import argparse
import json
import os
from typing import Any, Dict

import torch
from mmengine.config import DictAction


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('--img-size', type=int, help="pixels of the square images (default: the config's)")
    parser.add_argument('--batch', type=int, default=2, help='images in the step; numbers are for one')
    parser.add_argument('--depth', type=int, default=1, help='1: parts of the algorithm; 2: their modules; and so on')
    parser.add_argument('--dtype', default='float32', choices=['bfloat16', 'float32'])
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cpu')
    parser.add_argument('--out', help='write the numbers to this JSON file')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    args = parser.parse_args()
    if args.depth < 1:
        parser.error('--depth must be at least 1')
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: torch finds no GPU here')
    return args


def count(args: argparse.Namespace) -> Dict[str, Any]:
    """The counts, as the JSON file has them."""
    from mmmim.analysis.flops import KINDS, PHASES, count_step
    from mmmim.analysis.workload import build, fit_target, set_image_size, settle, synthetic_batch, uncompiled
    from mmmim.config.load import load_config
    from mmmim.models.patches import to_2tuple

    cfg = uncompiled(load_config(args.config, args.cfg_options))
    settle(cfg, args.batch, args.dtype)
    if args.img_size is not None:
        set_image_size(cfg, args.img_size)
    algorithm, optim_wrapper = build(cfg, torch.device(args.device))
    data = synthetic_batch(cfg, args.batch)
    fit_target(algorithm, data)
    flops = count_step(algorithm, optim_wrapper, data, args.batch)

    def cells(values_of) -> Dict[str, Dict[str, float]]:
        return {phase: {kind: values_of(phase, kind) for kind in KINDS} for phase in PHASES}

    parameters = flops.parameters_by_part(args.depth)
    parts = sorted({*flops.by_part(args.depth), *parameters})
    return dict(
        config=args.config,
        method=type(algorithm).__name__,
        img_size=list(to_2tuple(algorithm.backbone.img_size)),
        batch=args.batch,
        unit='FLOPs for one image; a multiply-add is two',
        total=dict(parameters=sum(parameters.values()), flops=cells(flops.total)),
        parts={
            part: dict(
                parameters=parameters.get(part, 0),
                flops=cells(lambda phase, kind, part=part: flops.by_part(args.depth, phase, kind).get(part, 0.0)),
            )
            for part in parts
        },
    )


def show(result: Dict[str, Any]) -> None:
    """The table: multiply-adds in each cell, FLOPs in the last column."""
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
    print(
        f'\nForward: {sum(forward.values()) / 2 / scale:.3f} {prefix}MACs, '
        f'{forward["linear"] / 2 / scale:.3f} without the products of attention.'
    )


def main() -> None:
    args = parse_args()
    from mmmim.engine.launch import USER_ERRORS, end_with

    try:
        result = count(args)
    except USER_ERRORS as error:
        end_with(error, None)
    show(result)
    if args.out:
        os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
        with open(args.out, 'w') as file:
            json.dump(result, file, indent=1)


if __name__ == '__main__':
    main()
