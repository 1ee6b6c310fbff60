"""Images a second and core of the training pipeline, beside mmpretrain's and torchvision's for the same crops.

    python tools/analysis/benchmark_data.py DIR [--size 224] [--out FILE.json] [--step STEP.json]

Reads the images under DIR (files, or shards of make_shards.py), crops them at random, scale 0.2 to 1, bicubic, flips
and packs them, in one process on one thread. All read the same files in turns, in alternating order, after a first turn
that brings them into the system's cache; ratios are of medians. Ours ends in uint8, as mmpretrain's does, and
torchvision's in normalised floats, as MAE's original code has it: the device does that here. `--repeat-crops N` also
measures ours with so many crops in a row of one image, as `train_dataloader.sampler.repeat_crops=N` takes them.

STEP.json is what `benchmark_train.py --out` wrote: how many cores feed that step is then said.
"""

import argparse
import json
import os
import shlex
import sys
import time
from typing import Any, Callable, Dict, List

OURS, MMPRETRAIN, TORCHVISION = 'mmmim', 'mmpretrain', 'torchvision'
SCALE = (0.2, 1.0)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('dir', metavar='DIR', help='a folder of images, or of shards')
    parser.add_argument('--size', type=int, default=224, help='of the crops, pixels')
    parser.add_argument('--images', type=int, default=200, help='at most so many of the folder, at equal distances')
    parser.add_argument('--repeat-crops', type=int, default=1, metavar='N', help='also with N crops of an image')
    parser.add_argument('--turns', type=int, default=5, help='timed turns of each, through all images')
    parser.add_argument('--step', metavar='STEP.json', help='of benchmark_train.py --out')
    parser.add_argument('--out', help='write what was measured to this JSON file')
    args = parser.parse_args()
    if min(args.size, args.turns, args.repeat_crops) < 1 or args.images < 2:
        parser.error('--size, --turns and --repeat-crops must be at least 1, and --images at least 2')
    return args


def our_pipeline(size: int) -> List[dict]:
    return [
        dict(type='mmmim.LoadImage'),
        dict(type='mmmim.RandomResizedCrop', size=size, scale=SCALE, interpolation='bicubic'),
        dict(type='mmmim.RandomFlip', prob=0.5),
        dict(type='mmmim.PackImage'),
    ]


def ours(root: str, size: int) -> Any:
    """The data set, with the draws of training."""
    from mmmim.datasets import SeededDataset
    from mmmim.datasets.sharded_images import INDEX

    kind = 'ShardedImages' if os.path.exists(os.path.join(root, INDEX)) else 'ImageFolder'
    return SeededDataset(dict(type=f'mmmim.{kind}', data_root=root, pipeline=our_pipeline(size)))


def mmpretrain_pipeline(size: int) -> Callable[[str], Any]:
    """That of mmpretrain's MAE configs, from a path."""
    from mmengine.dataset import Compose
    from mmpretrain.registry import TRANSFORMS

    steps = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomResizedCrop', scale=size, crop_ratio_range=SCALE, backend='pillow', interpolation='bicubic'),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackInputs'),
    ]
    pipeline = Compose([TRANSFORMS.build(dict(step, _scope_='mmpretrain')) for step in steps])
    return lambda path: pipeline(dict(img_path=path))


def torchvision_pipeline(size: int) -> Callable[[str], Any]:
    """That of MAE's original code, from a path."""
    from torchvision import transforms
    from torchvision.datasets.folder import default_loader

    crop = transforms.RandomResizedCrop(size, SCALE, interpolation=transforms.InterpolationMode.BICUBIC)
    normalize = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    pipeline = transforms.Compose([crop, transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalize])
    return lambda path: pipeline(default_loader(path))


def contenders(args: argparse.Namespace) -> Dict[str, Callable[[int], Any]]:
    """By name, what makes the sample of an image; the others need files.

    Raises:
        FileNotFoundError, ValueError: No images there.
    """
    from mmmim.datasets import SampleIndex

    dataset = ours(args.dir, args.size)
    places = [k * len(dataset) // min(args.images, len(dataset)) for k in range(min(args.images, len(dataset)))]
    if len(places) <= args.repeat_crops:  # an image that is read again at once is not decoded again
        raise ValueError(f'{args.dir}: {len(places)} images are too few; more than --repeat-crops are needed')
    found: Dict[str, Callable[[int], Any]] = {OURS: lambda k: dataset[SampleIndex(places[k], k)]}
    if args.repeat_crops > 1:
        again, count = ours(args.dir, args.size), args.repeat_crops
        found[f'{OURS} x{count}'] = lambda k: again[SampleIndex(places[k - k % count], k)]
    paths = [dataset.get_data_info(place)['img_path'] for place in places]
    if all(map(os.path.isfile, paths)):
        for name, make in ((MMPRETRAIN, mmpretrain_pipeline), (TORCHVISION, torchvision_pipeline)):
            pipeline = make(args.size)
            found[name] = lambda k, pipeline=pipeline: pipeline(paths[k])
    args.images = len(places)
    return found


def measure(args: argparse.Namespace) -> Dict[str, Any]:
    """Everything, as the JSON file has it."""
    import torch

    from mmmim.analysis.timing import summarize
    from mmmim.engine.hardware import hardware, versions

    torch.set_num_threads(1)
    found = contenders(args)
    seconds: Dict[str, List[float]] = {name: [] for name in found}
    for turn in range(1 + args.turns):
        for name in list(found)[:: -1 if turn % 2 else 1]:
            start = time.perf_counter()
            for k in range(args.images):
                found[name](k)
            if turn:
                seconds[name].append((time.perf_counter() - start) / args.images)
    summaries = {name: summarize(values) for name, values in seconds.items()}
    rates = {name: 1 / summary['median'] for name, summary in summaries.items()}
    result = dict(
        command=' '.join(map(shlex.quote, ['python', *sys.argv])),
        images=args.images,
        size=args.size,
        hardware=hardware(),
        versions=versions(),
        seconds_per_image=summaries,
        images_per_second=rates,
        ours_over={name: rates[OURS] / rate for name, rate in rates.items() if name != OURS},
    )
    if args.step:
        with open(args.step) as file:
            step = json.load(file)['contenders'][OURS]['images_per_second']
        result['step'] = dict(images_per_second=step, cores_to_feed_it=step / rates[OURS])
    return result


def show(result: Dict[str, Any]) -> None:
    """The lines."""
    print(f'{result["images"]} images, crops of {result["size"]} px, one core of {result["hardware"]["cpu"]}')
    for name, summary in result['seconds_per_image'].items():
        rate, ratio = result['images_per_second'][name], result['ours_over'].get(name)
        print(
            f'{name:12s} {rate:7.1f} images/s ({1000 * summary["q1"]:.2f}-{1000 * summary["q3"]:.2f} ms an image)'
            + (f', ours {ratio:.2f} times as fast' if ratio else '')
        )
    if 'step' in result:
        step = result['step']
        print(f'the step takes {step["images_per_second"]:.1f} images/s: {step["cores_to_feed_it"]:.2f} cores feed it')


def main() -> None:
    args = parse_args()
    from mmmim.checkpoint import atomic_write_text
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
        atomic_write_text(args.out, json.dumps(result, indent=1))


if __name__ == '__main__':
    main()
