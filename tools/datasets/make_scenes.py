"""Draw a data set of small scenes that look like photographs, for work without any download.

    python tools/datasets/make_scenes.py data/scenes [--train 2000] [--val 500] [--size 96] [--seed 0]

Each scene has a place (under the sky, in a room, or seen from above), light from one side, shadows, and two to five
things of ten classes that hide each other. Colours are drawn without looking at the class: they alone do not tell it.

One pass writes three layouts:

    train/<class>/*.jpg, val/<class>/*.jpg           by the thing that shows the most of itself
    ade/images, ade/annotations, ade/classes.txt     as ADE20K: index PNGs of things and surroundings
    coco/train2017, coco/val2017, coco/annotations   as COCO 2017: polygons and boxes of what is seen of each thing

A scene depends on the seed, the split and its number alone: the same seed gives the same bytes, whatever the number of
workers. A second call finds the data set and does nothing; one that was interrupted starts again.
"""

import argparse
import os
import signal
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Tuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]  # `scenes`, and `mmmim` of a checkout that is not installed

from scenes.folder import DISK_FULL, NoSpaceError, SceneFolder  # noqa: E402
from scenes.layouts import SPLITS, make_folders, write_lists, write_scene  # noqa: E402
from scenes.scene import LABELS  # noqa: E402

RECIPE = 3  # to be raised when what is drawn or written changes
SMALLEST_SIZE = 32
CHUNK = 8  # scenes that a worker is given at once


def make_scenes(
    out: Path,
    train: int = 2000,
    val: int = 500,
    size: int = 96,
    seed: int = 0,
    workers: Optional[int] = None,
    force: bool = False,
) -> bool:
    """Draw the data set, unless it is there.

    Args:
        out: The folder: new, empty, or with scenes.
        train: Number of training images.
        val: Number of held-out images.
        size: Pixels a side.
        seed: Not negative.
        workers: Processes; by default one for each core that this process may use.
        force: Whether scenes of other settings in ``out`` may be replaced.

    Returns:
        Whether it was drawn.

    Raises:
        ValueError: A number is too small.
        OSError: ``out`` can't be used, see :class:`scenes.folder.SceneFolder`, or the disk has no room.
    """
    for name, value, least in (
        ('train', train, 1),
        ('val', val, 1),
        ('size', size, SMALLEST_SIZE),
        ('seed', seed, 0),
        ('workers', workers or 1, 1),
    ):
        if value < least:
            raise ValueError(f'--{name} is {value}; it must be at least {least}')
    settings = dict(recipe=RECIPE, seed=seed, size=size, train=train, val=val, classes=list(LABELS))
    folder = SceneFolder(Path(out), settings)
    if folder.is_complete():
        return False
    folder.claim(force)
    try:
        _draw_all(folder.path, dict(train=train, val=val), size, seed, workers or cores())
        folder.finish()
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        folder.abandon()
        raise NoSpaceError(f'the disk of {out} is full: free some space, or choose another folder') from error
    finally:
        folder.release()
    return True


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def _draw_all(root: Path, counts: dict, size: int, seed: int, workers: int) -> None:
    make_folders(root)
    jobs = [(split, index) for split in SPLITS for index in range(counts[split])]
    with mapper(min(workers, -(-len(jobs) // CHUNK))) as start:
        results = start(partial(_write, root, seed, size), jobs)
        from mmmim.progress import track  # imports torch: meanwhile the workers are at work

        found = list(track(results, 'drawing scenes', len(jobs)))
    write_lists(root, 'train', size, found[: counts['train']])
    write_lists(root, 'val', size, found[counts['train'] :])


def _write(root: Path, seed: int, size: int, job: Tuple[str, int]) -> List[dict]:
    return write_scene(root, seed, size, *job)


@contextmanager
def mapper(workers: int) -> Iterator[Callable]:
    """A ``map`` over so many processes; in this one if it is one."""
    if workers == 1:
        yield map
        return
    executor = ProcessPoolExecutor(workers, get_context('spawn'), initializer=_start_worker)

    def start(function: Callable, jobs: list) -> Iterator:
        # Ctrl-C reaches the whole group, but is the parent's to answer: workers inherit that it is blocked
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return executor.map(function, jobs, chunksize=CHUNK)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    try:
        yield start
    finally:
        executor.shutdown(cancel_futures=True)


def _start_worker() -> None:
    import cv2

    cv2.setNumThreads(1)

    def end_with_parent() -> None:
        parent_process().join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path, help='the folder to make')
    parser.add_argument('--train', type=int, default=2000, help='training images')
    parser.add_argument('--val', type=int, default=500, help='held-out images')
    parser.add_argument('--size', type=int, default=96, help='pixels a side')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--workers', type=int, help='processes; by default all cores')
    parser.add_argument('--force', action='store_true', help='replace scenes of other settings')
    args = parser.parse_args()
    began = time.monotonic()
    try:
        drawn = make_scenes(**vars(args))
    except KeyboardInterrupt:
        print('make_scenes: interrupted; the same command starts again', file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenProcessPool:
        print('make_scenes: a worker was killed (out of memory?): try with fewer --workers', file=sys.stderr)
        return 2
    except (OSError, ValueError) as error:
        print(f'make_scenes: {error}', file=sys.stderr)
        return 2
    how = f'drawn in {time.monotonic() - began:.0f} s' if drawn else 'are there already'
    print(f'{args.out}: {args.train} + {args.val} scenes of {args.size} px {how} (class folders, ade/, coco/)')
    return 0


if __name__ == '__main__':
    sys.exit(main())
