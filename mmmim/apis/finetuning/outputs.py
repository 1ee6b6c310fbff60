"""Features and scores of listed images, kept on the disk: what `extract` takes."""

import time
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from ...datasets.loading import mim_collate
from ...models.preprocess import MIMDataPreprocessor
from ...registry import MODELS, TRANSFORMS
from ..extract import Features, extract, is_kept
from .start import ClassifierStart

_TIMED = 16  # images


class Outputs:
    """A network with the surface that :func:`~mmmim.apis.extract.extract` needs.

    Args:
        name: For the progress line.
        module: From images ``[B, C, H, W]``, normalised, to ``[B, D]``.
        start: What it wants of images.
        pipeline: Steps of the test pipeline before the last one.
    """

    pool = None
    precision = 'float32'

    def __init__(self, name: str, module: nn.Module, start: ClassifierStart, pipeline: List[Dict[str, Any]]) -> None:
        self.name, self.img_size = name, start.size
        self.device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        steps = [*pipeline, dict(type='mmmim.PackImage')]
        self.pipeline = [TRANSFORMS.build(dict(step)) for step in steps]
        self.module = module.to(self.device).eval().requires_grad_(False)
        self._preprocessor = MIMDataPreprocessor(start.mean, start.std).to(self.device)

    def features(
        self, batch: Dict[str, Any], layers: Sequence[Optional[int]] = (None,), pool: Optional[str] = None
    ) -> List[Tensor]:
        """``[[B, D]]`` float32 on the CPU."""
        with torch.inference_mode():
            images = self._preprocessor(batch, False)['inputs']
            return [self.module(images).to('cpu', torch.float32, copy=True)]

    def of(self, files: Sequence[str]) -> Features:
        """Of listed images; says before how long it takes, unless they are kept from before."""
        if not is_kept(self, files):
            seconds = self._seconds_an_image(files)
            if seconds is not None:
                print(f'{self.name}: {len(files):,} images, about {_duration(seconds * len(files))}', flush=True)
        return extract(self, files)

    def _seconds_an_image(self, files: Sequence[str]) -> Optional[float]:
        """By some images, the first of which warms up; None where they cannot be read."""
        samples = []
        started = time.perf_counter()
        for place, file in enumerate(files[:: max(1, len(files) // _TIMED)][:_TIMED]):
            results: Any = dict(img_path=file, sample_idx=place, seed=0, replaced=[])
            try:
                for step in self.pipeline:
                    results = step(results)
            except (OSError, ValueError, RuntimeError):
                continue
            samples.append(results)
        reading = time.perf_counter() - started
        if not samples:
            return None
        self.features(mim_collate(samples[:1]))
        started = time.perf_counter()
        self.features(mim_collate(samples))
        return (time.perf_counter() - started + reading) / len(samples)


class Backbone(nn.Module):
    """The backbone of a start, with its weights, and its pooling: images to ``[B, D]``."""

    def __init__(self, start: ClassifierStart) -> None:
        super().__init__()
        self.backbone = start.build(start.backbone)
        missing, unknown = self.backbone.load_state_dict(start.state, strict=False)
        if missing or unknown:
            raise RuntimeError(f'{start.name}: weights do not fit its backbone: {[*missing, *unknown][:3]}')
        self.neck = MODELS.build(dict(start.neck)) if start.neck else None

    def forward(self, images: Tensor) -> Tensor:
        found = self.backbone(images)
        return (self.neck(found) if self.neck is not None else found)[-1]


class Scores(nn.Module):
    """A whole classifier: images to ``[B, classes]`` logits."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier: Any = classifier

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier.head(self.classifier.extract_feat(images))


def readable(found: Features, files: Sequence[str]) -> Tuple[List[str], List[str]]:
    """The files that could be read, and the others."""
    good = found.readable.tolist()
    return [f for f, ok in zip(files, good) if ok], [f for f, ok in zip(files, good) if not ok]


def _duration(seconds: float) -> str:
    return (
        f'{seconds:.0f} s'
        if seconds < 90
        else f'{seconds / 60:.0f} minutes'
        if seconds < 5400
        else (f'{seconds / 3600:.1f} hours')
    )
