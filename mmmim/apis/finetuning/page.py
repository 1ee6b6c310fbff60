"""What the page of a classifier shows: its results, and images that it takes for another class."""

import json
import os.path as osp
from contextlib import suppress
from dataclasses import asdict
from typing import List, Optional, Sequence

import numpy as np

from ...checkpoint import atomic_write_text
from ...datasets.io.image_io import ImageReadError, ImageSource
from ...evaluation.label_metrics import Measured
from ...report.finetuned import Wrong, write_finetuned
from ..label_split import Pair
from .request import Results

MISTAKES = 'mistakes.json'
MOST = 12


def write_mistakes(out: str, reported: Sequence[Pair], classes: Sequence[str], measured: Optional[Measured]) -> None:
    """Write ``mistakes.json``: reported images that the kept model takes for another class, the surest first."""
    entries = []
    if measured is not None and measured.right is not None and len(measured.right) == len(reported):
        guess, sure = measured.guess, measured.sure
        assert guess is not None and sure is not None  # as there is `right`
        for place in np.argsort(-sure):
            if not measured.right[place]:
                file, label = reported[place]
                entries.append(
                    dict(
                        file=file,
                        label=classes[label],
                        predicted=classes[int(guess[place])],
                        probability=round(float(sure[place]), 4),
                    )
                )
    atomic_write_text(osp.join(out, MISTAKES), json.dumps(entries, indent=1))


def write_page(out: str, results: Results) -> str:
    """Write ``report.html``; returns its path."""
    return write_finetuned(out, asdict(results), _pictures(out))


def _pictures(out: str) -> List[Wrong]:
    try:
        with open(osp.join(out, MISTAKES), encoding='utf-8') as file:
            entries = json.load(file)
    except (OSError, ValueError):
        return []
    found: List[Wrong] = []
    for entry in entries:
        if len(found) == MOST:
            break
        with suppress(ImageReadError, OSError, ValueError):
            pixels = ImageSource(entry['file']).read()
            text = f'{entry["label"]}, taken for {entry["predicted"]} ({entry["probability"]:.0%})'
            found.append(Wrong(pixels, text))
    return found
