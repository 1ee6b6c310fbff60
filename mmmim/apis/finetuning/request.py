"""What was asked of `finetune`, and what came of it: ``finetune.json``."""

import json
import os.path as osp
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from ...checkpoint import atomic_write_text
from ...datasets.inputs import Data

FILE_NAME = 'finetune.json'


@dataclass(frozen=True)
class Request:
    """The arguments of :func:`mmmim.finetune`, which says what each means; ``overrides`` are dotted keys."""

    data: Data
    out: str
    model: Optional[str] = None
    labels: Optional[str] = None
    test: Optional[str] = None
    quick: bool = False
    share: Optional[float] = None
    per_class: Optional[int] = None
    seeds: int = 1
    compare: Union[str, Sequence[str], None] = None
    balance: Optional[str] = None
    image_size: Optional[int] = None
    epochs: Optional[int] = None
    hours: Optional[float] = None
    lr: Optional[float] = None
    batch_size: Optional[int] = None
    seed: Optional[int] = None
    workers: Optional[int] = None
    overrides: Dict[str, Any] = field(default_factory=dict)
    like: Optional[str] = None  # a comparison's: the model whose architecture model='random' has


@dataclass
class Stage:
    """One way of training, measured.

    Attributes:
        name: ``'frozen'``, ``'last blocks'``, ``'full'``, ``'UperNet'``, ``'Mask R-CNN'``.
        metric: What the two numbers are: ``'accuracy'``, ``'mAP'``, ``'mIoU'``, ``'box AP'``; percent.
        selection, report: Of the images that choose, and of those that are reported; None: not measured.
        interval: 95%, of ``report``, by a bootstrap over images; None: not measured.
        kept: Whether it is the model of the folder.
        seconds: Of training and measuring.
        work_dir: Its config, log and checkpoints, below the folder; empty where nothing was trained.
        measures: Further numbers by name: ``'balanced accuracy'``, ``'mask AP'`` ...
        note: A sentence, such as why it was not kept.
    """

    name: str
    metric: str
    selection: Optional[float] = None
    report: Optional[float] = None
    interval: Optional[Tuple[float, float]] = None
    kept: bool = False
    seconds: float = 0.0
    work_dir: str = ''
    measures: Dict[str, float] = field(default_factory=dict)
    note: str = ''


@dataclass
class Results:
    """Content of ``finetune.json``; also written while stages are missing.

    Attributes:
        task: As in :class:`~mmmim.apis.trained.Trained`.
        start: ``name``, ``kind`` and ``licence`` of the weights.
        counts: Images of ``fit``, ``selection``, ``report``; ``classes``.
        stages: In the order in which they ran.
        per_class: A row a class: ``name``, ``images`` (of fit), ``report`` (images), measures of the kept model.
        table: Rows of a comparison of starts, empty without one.
        notes: Sentences: how images were split, warnings.
        finished: Whether all is done.
    """

    task: str
    start: Dict[str, str] = field(default_factory=dict)
    counts: Dict[str, int] = field(default_factory=dict)
    stages: List[Stage] = field(default_factory=list)
    per_class: List[Dict[str, Any]] = field(default_factory=list)
    table: List[Dict[str, Any]] = field(default_factory=list)
    notes: List[str] = field(default_factory=list)
    finished: bool = False

    def write(self, folder: str) -> None:
        """Write ``finetune.json``, atomically."""
        atomic_write_text(osp.join(folder, FILE_NAME), json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, folder: str) -> Optional['Results']:
        """Of a folder; None without one, or where it is damaged."""
        try:
            with open(osp.join(folder, FILE_NAME), encoding='utf-8') as file:
                values = json.load(file)
            stages = [Stage(**stage) for stage in values['stages']]
            for stage in stages:
                stage.interval = None if stage.interval is None else (stage.interval[0], stage.interval[1])
            return cls(**{**values, 'stages': stages})
        except (OSError, ValueError, TypeError, KeyError):
            return None


class FineTuned(NamedTuple):
    """What fine-tuning wrote.

    Attributes:
        work_dir: The folder.
        task: As in :class:`~mmmim.apis.trained.Trained`.
        config: ``model.py``, of the kept model.
        checkpoint: ``model.pth``.
        results: As in ``finetune.json``.
        report: ``report.html``.
    """

    work_dir: str
    task: str
    config: str
    checkpoint: str
    results: Results
    report: Optional[str]
