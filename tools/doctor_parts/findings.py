"""From the probes' answers to the lines of the table."""

import os
import re
from typing import Any, Dict, List, Optional, Tuple

from . import place
from .distributions import FAMILIES, PARTS, Part, overlaps
from .machine import Gpu, Row
from .remedies import Remedies, diagnose

Answer = Dict[str, Any]

BY_MODULE = {part.module: part for part in PARTS}
# what a task of the toolboxes is done with
TOOLBOX_OF = {'classification': 'mmpretrain', 'segmentation': 'mmseg', 'detection': 'mmdet'}


def major(version: str) -> int:
    found = re.match(r'\d+', version or '')
    return int(found[0]) if found else 0


class Findings:
    """Rows from answers; what one answer means can depend on what else is installed."""

    def __init__(self, remedies: Remedies, gpu: Gpu) -> None:
        self.remedies, self.driver, self.gpu_present = remedies, gpu.driver, gpu.present
        self.installed, self.tested = remedies.installed, remedies.tested
        self.overlaps = overlaps(self.installed)
        self.broken: List[Part] = []

    # ---- parts ----

    def part(self, part: Part, answer: Answer) -> Row:
        """To be called in the order of ``PARTS``: what others are built on comes first."""
        names = [name for name in part.distributions if name in self.installed]
        version = self.installed[names[0]] if names else answer.get('version') or ''
        tested = self.tested.get(part.distributions[0], '')
        status, detail, mend = self._judge_part(part, answer, names, version, tested)
        if status == 'broken':
            self.broken.append(part)
        return Row(
            'installed', part.name, status, detail, tuple(mend), version, tested, part.purpose, answer.get('trace', '')
        )

    def _judge_part(
        self, part: Part, answer: Answer, names: List[str], version: str, tested: str
    ) -> Tuple[str, str, List[str]]:
        if part.module in self.overlaps:
            return (
                'broken',
                f'{" and ".join(self.overlaps[part.module])} own the same folder: one of them is overwritten',
                self.remedies.toolboxes(part.module),
            )
        if not answer['ok']:
            return self._judge_failed_part(part, answer)
        if part.name == 'transformers' and major(version) >= 5:
            return (
                'note',
                'with it and pycocotools (detection), mmpretrain cannot be imported',
                [self.remedies.pip('transformers')],
            )
        if part.module == 'mmmim' and place.CHECKOUT and not within(answer['file'], place.CHECKOUT):
            return (
                'note',
                f'this Python imports {os.path.dirname(answer["file"])}, not this checkout',
                [self.remedies.mmmim()],
            )
        if len({self.installed[name] for name in names}) > 1:  # what detection brings needs two OpenCVs: of one release
            return 'note', f'{" and ".join(names)} own the same folder', []
        if names and names[0] != part.distributions[0] and part.module in FAMILIES:
            return 'note', f'upstream; tested is {part.distributions[0]}', []
        if tested and version.partition('+')[0] != tested:
            return 'note', 'not the tested version', []
        return 'ok', '', []

    def _judge_failed_part(self, part: Part, answer: Answer) -> Tuple[str, str, List[str]]:
        missing = answer.get('missing')
        if missing == part.module:
            task = next((task for task, module in TOOLBOX_OF.items() if module == part.module), None)
            return 'absent', f'for {part.purpose}', [] if task else self.remedies.part(part.name)
        needed = self._needed(part.module, answer)
        if needed:
            return 'broken', f'needs {needed}', []
        found = self._transformers(part.module, answer) or diagnose(part.name, answer, self.remedies)
        if found:
            return 'broken', found[0], found[1]
        if missing:  # pip adds what a distribution lacks
            return 'broken', f'needs {missing}, which is not installed', [self.remedies.pip(part.distributions[0])]
        return 'broken', shown(answer), self.remedies.part(part.name)

    def _needed(self, module: str, answer: Answer) -> str:
        """The name of a part that ``module`` failed for, when that part has a row (and a cure) of its own."""
        missing = BY_MODULE.get(answer.get('missing') or '')
        if missing and missing.module != module:
            return missing.name
        trace = answer.get('trace', '')
        return next(
            (
                part.name
                for part in self.broken
                if part.module != module and re.search(rf'import {part.module}\b|[/\\]{part.module}[/\\]', trace)
            ),
            '',
        )

    def _transformers(self, module: str, answer: Answer) -> Optional[Tuple[str, List[str]]]:
        if (
            module == 'mmpretrain'
            and major(self.installed.get('transformers', '')) >= 5
            and re.search('transformers|multimodal', answer.get('trace', ''))
        ):
            return 'transformers 5 is too new for it', [self.remedies.pip('transformers')]
        return None

    # ---- what works ----

    def work(self, name: str, answer: Answer, rows: Dict[str, Row], torch: Answer) -> Row:
        judge = {'GPU': self._gpu, 'compiled ops': self._ops, 'pre-training': self._pre_training}.get(name)
        status, detail, mend = (judge(answer, rows, torch) if judge else None) or self._judge_work(name, answer, rows)
        return Row('works', name, status, detail, tuple(mend), purpose=name, trace=answer.get('trace', ''))

    def _judge_work(self, name: str, answer: Answer, rows: Dict[str, Row]) -> Tuple[str, str, List[str]]:
        if answer['ok']:
            return ('note', answer['note'], []) if answer.get('note') else ('ok', answer.get('detail', ''), [])
        module = TOOLBOX_OF.get(name)
        part = BY_MODULE.get(module or '')
        if part and part.name in rows and rows[part.name].status == 'absent':
            mend = self.remedies.detection() if name == 'detection' else self.remedies.toolboxes(module)
            return 'absent', f'{part.name} is not installed', mend
        needed = self._needed('', answer)
        if needed:
            return 'broken', f'needs {needed}', []
        found = self._transformers(module or '', answer) or diagnose(name, answer, self.remedies)
        if found:
            return 'broken', found[0], found[1]
        again = f'{place.doctor()} --json --only {name!r}    # shows all that it said'
        return 'broken', shown(answer), [again]

    def _pre_training(self, answer: Answer, rows: Dict[str, Row], torch: Answer) -> Optional[tuple]:
        mmmim = rows.get('mmmim')
        if answer['ok'] and mmmim and mmmim.status == 'absent':
            return (
                'broken',
                answer['detail'] + ', but from the checkout only: this Python does not find mmmim',
                [self.remedies.mmmim()],
            )
        return None

    def _ops(self, answer: Answer, rows: Dict[str, Row], torch: Answer) -> Optional[tuple]:
        if answer['ok'] and not answer['compiled']:
            return 'absent', 'mmcv is installed without them; only detection needs them', self.remedies.detection()
        have, compiled_for = torch.get('version'), answer.get('compiled_for')
        if answer['ok'] and have and compiled_for not in (None, have):
            return (
                'note',
                f'they run, but were compiled for torch {compiled_for}; installed is {have}',
                self.remedies.compiled_ops(),
            )
        return None

    def _gpu(self, answer: Answer, rows: Dict[str, Row], torch: Answer) -> Optional[tuple]:
        if answer['ok'] and answer['available']:
            return None
        if not self.gpu_present:
            return 'absent', 'none here', []
        if torch.get('ok') and not torch.get('cuda') and not torch.get('hip'):
            return 'broken', 'this torch is a build for the CPU only', self.remedies.torch_pair()
        if self.driver and torch.get('cuda') and 0 < major(self.driver.cuda) < major(torch['cuda']):
            return (
                'broken',
                (
                    f'the driver runs CUDA up to {self.driver.cuda}, this torch needs {torch["cuda"]}: '
                    'update the driver, or take another build of torch'
                ),
                self.remedies.torch_for_older_driver(),
            )
        hidden = os.environ.get('CUDA_VISIBLE_DEVICES')
        if hidden is not None and not re.search(r'(^|,)\s*(\d|GPU|MIG)', hidden):
            return 'note', f'hidden by CUDA_VISIBLE_DEVICES={hidden!r}', ['unset CUDA_VISIBLE_DEVICES']
        if self.driver is None:
            return 'broken', 'see the NVIDIA driver', []
        return None


def within(path: Optional[str], folder: str) -> bool:
    return bool(path) and os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), ''))


def shown(answer: Answer) -> str:
    """An error in one line; with its first cause where a library hid it."""
    error, cause = (' '.join(str(answer.get(key) or '').split()) for key in ('error', 'cause'))
    text = error if not cause or cause == error else f'{error} ({cause})'
    return text if len(text) <= 300 else text[:297] + '...'
