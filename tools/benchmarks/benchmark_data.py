"""Images a second and core of the training pipeline, beside mmpretrain's and torchvision's for the same crops.

    python tools/benchmarks/benchmark_data.py DIR [--size 224] [--out FILE.json] [--step STEP.json]

Reads the images under DIR (files, or shards of make_shards.py), crops them at random, scale 0.2 to 1, bicubic, flips
and packs them, in one process on one thread. All read the same files once a round, in alternating order, after a first
round that brings them into the system's cache; ratios are of medians. Ours ends in uint8, as mmpretrain's does, and
torchvision's in normalised floats, as MAE's original code has it: the device does that here. `--repeat-crops N` also
measures ours with so many crops in a row of one image, as `train_dataloader.sampler.repeat_crops=N` takes them.

STEP.json is what `benchmark_train.py --out` wrote: how many cores feed that step is then said.
"""

import argparse
import json
import os
import time
from functools import partial
from typing import Any, Callable, Dict, List

import torch
from mmengine.dataset import Compose

from libraries import OURS
from mmmim.datasets import SampleIndex, SeededDataset
from mmmim.datasets.sharded_images import INDEX
from mmmim.engine.hardware import keep_freed_memory
from script import Result, add_out, at_least, make_parser, run
from timing import interleave, milliseconds, summarize

Sample = Callable[[int], Any]  # reads and crops an image, named by its place
SCALE = (0.2, 1.0)


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('dir', metavar='DIR', help='a folder of images, or of shards')
    parser.add_argument('--size', type=at_least(1), default=224, help='of the crops, pixels')
    parser.add_argument('--images', type=at_least(2), default=200, help='at most so many, at equal distances')
    parser.add_argument('--repeat-crops', type=at_least(1), default=1, metavar='N', help='also N crops of an image')
    parser.add_argument('--turns', type=at_least(1), default=5, help='timed rounds through all images')
    parser.add_argument('--step', metavar='STEP.json', help='of benchmark_train.py --out')
    add_out(parser)
    return parser.parse_args()


def ours(root: str, size: int) -> SeededDataset:
    """The data set, with the random choices of training."""
    pipeline = [
        dict(type='mmmim.LoadImage'),
        dict(type='mmmim.RandomResizedCrop', size=size, scale=SCALE, interpolation='bicubic'),
        dict(type='mmmim.RandomFlip', prob=0.5),
        dict(type='mmmim.PackImage'),
    ]
    kind = 'ShardedImages' if os.path.exists(os.path.join(root, INDEX)) else 'ImageFolder'
    return SeededDataset(dict(type=f'mmmim.{kind}', data_root=root, pipeline=pipeline))


def mmpretrain_pipeline(size: int) -> Callable[[str], Any]:
    """That of mmpretrain's MAE configs, from a path."""
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


def pipelines(args: argparse.Namespace) -> Dict[str, Sample]:
    """By name, what makes the sample of an image; the other libraries' need files.

    Raises:
        FileNotFoundError, ValueError: No images there.
    """
    dataset = ours(args.dir, args.size)
    args.images = min(args.images, len(dataset))
    if args.images <= args.repeat_crops:  # an image that is read again at once is not decoded again
        raise ValueError(f'{args.dir}: {args.images} images are too few; more than --repeat-crops are needed')
    places = [k * len(dataset) // args.images for k in range(args.images)]
    found: Dict[str, Sample] = {OURS: lambda k: dataset[SampleIndex(places[k], k)]}
    if args.repeat_crops > 1:
        again, count = ours(args.dir, args.size), args.repeat_crops
        found[f'{OURS} x{count}'] = lambda k: again[SampleIndex(places[k - k % count], k)]
    paths = [dataset.get_data_info(place)['img_path'] for place in places]
    if all(map(os.path.isfile, paths)):
        for name, make in dict(mmpretrain=mmpretrain_pipeline, torchvision=torchvision_pipeline).items():
            pipeline = make(args.size)
            found[name] = lambda k, pipeline=pipeline: pipeline(paths[k])
    return found


def seconds_per_image(sample: Sample, images: int) -> float:
    """Of so many images, read one after the other."""
    start = time.perf_counter()
    for k in range(images):
        sample(k)
    return (time.perf_counter() - start) / images


def measure(args: argparse.Namespace) -> Result:
    """Everything, as the JSON file has it."""
    keep_freed_memory()
    torch.set_num_threads(1)
    timed = {name: partial(seconds_per_image, sample, args.images) for name, sample in pipelines(args).items()}
    seconds: Dict[str, List[float]] = interleave(timed, args.turns)
    summaries = {name: summarize(values) for name, values in seconds.items()}
    rates = {name: 1 / summary['median'] for name, summary in summaries.items()}
    result = dict(
        seconds_per_image=summaries,
        images_per_second=rates,
        ours_over={name: rates[OURS] / rate for name, rate in rates.items() if name != OURS},
    )
    if args.step:
        with open(args.step) as file:
            step = json.load(file)['contenders'][OURS]['images_per_second']
        result['step'] = dict(images_per_second=step, cores_to_feed_it=step / rates[OURS])
    return result


def show(result: Result) -> None:
    """Print the lines."""
    print(f'{result["images"]} images, crops of {result["size"]} px, one core of {result["hardware"]["cpu"]}')
    for name, summary in result['seconds_per_image'].items():
        rate, times = result['images_per_second'][name], milliseconds(summary, digits=2)
        ratio = f', ours {result["ours_over"][name]:.2f} times as fast' if name in result['ours_over'] else ''
        print(f'{name:12s} {rate:7.1f} images/s ({times["q1"]}-{times["q3"]} ms an image){ratio}')
    if result['step']:
        step = result['step']
        print(f'the step takes {step["images_per_second"]:.1f} images/s: {step["cores_to_feed_it"]:.2f} cores feed it')


if __name__ == '__main__':
    run(parse_args(), measure, show)
