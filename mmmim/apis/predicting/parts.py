"""Predictions on the disk while they are made: parts that are whole, so that a killed call goes on behind them."""

import json
import os
import os.path as osp
import re
import shutil
import time
from typing import Any, Dict, Iterator, List, Tuple

from ...checkpoint import atomic_write_bytes, atomic_write_text
from ...checkpoint.write import remove_stale_temporaries
from ...config.paths import relative_to_here

CALL, FOLDER = 'call.json', 'parts'
FILES = MASKS, OVERLAYS = 'masks', 'overlays'  # folders of a file an image
SECONDS, IMAGES = 15.0, 2000  # a part is written after so long, or of so many images

Record = Dict[str, Any]


class Parts:
    """Records of images in their order, a line of JSON each, in files of some hundred.

    Args:
        out: The folder of the predictions.
        facts: What the records depend on; a folder with records of other facts is refused.

    Raises:
        ValueError: The folder holds something else.
        CheckpointWriteError: It cannot be written.
    """

    def __init__(self, out: str, facts: Dict[str, Any]) -> None:
        self.out, self.folder = out, osp.join(out, FOLDER)
        self._check(facts)
        atomic_write_text(osp.join(out, CALL), json.dumps(facts, indent=1))
        os.makedirs(self.folder, exist_ok=True)
        for folder in (self.folder, *map(self._at, FILES)):
            for place, _, _ in os.walk(folder):  # masks lie in the folders of their images
                remove_stale_temporaries(place)
        self._files, self.done = self._whole()
        self._open: List[str] = []  # lines of records that are in no file yet
        self._since = time.monotonic()

    def _check(self, facts: Dict[str, Any]) -> None:
        path = osp.join(self.out, CALL)
        here = relative_to_here(self.out)
        if not osp.exists(path):
            foreign = [name for name in ('predictions.csv', 'predictions.json', FOLDER) if osp.exists(self._at(name))]
            if foreign:
                raise ValueError(f'{here} holds {foreign[0]}, which is not of this command: give another --out')
            return
        try:
            with open(path, encoding='utf-8') as file:
                before = json.load(file)
        except ValueError:
            before = {}
        changed = [key for key in {**before, **facts} if before.get(key) != facts.get(key)]
        if changed:
            key = changed[0]
            raise ValueError(
                f'{here} holds predictions of another call: {key} was {before.get(key)!r} and is {facts.get(key)!r}. '
                'Give another --out, or remove that folder'
            )

    def _at(self, name: str) -> str:
        return osp.join(self.out, name)

    def _whole(self) -> Tuple[List[str], int]:
        """Files that follow one another from the first image on, and the number of their images; others go."""
        files, done = [], 0
        for name in sorted(os.listdir(self.folder)):
            match = re.fullmatch(r'(\d+)-(\d+)\.jsonl', name)
            if match and int(match[1]) == done:
                files.append(name)
                done = int(match[2])
            elif match:
                os.remove(osp.join(self.folder, name))
        return files, done

    def add(self, records: List[Record]) -> None:
        """Records of the next images; what they say of other files must be written before."""
        self._open += [json.dumps(record) for record in records]
        if len(self._open) >= IMAGES or time.monotonic() - self._since >= SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is not written yet."""
        if self._open:
            end = self.done + len(self._open)
            name = f'{self.done:010d}-{end:010d}.jsonl'
            atomic_write_bytes('\n'.join([*self._open, '']).encode(), osp.join(self.folder, name))
            self._files.append(name)
            self.done, self._open = end, []
        self._since = time.monotonic()

    def __iter__(self) -> Iterator[Record]:
        for name in self._files:
            with open(osp.join(self.folder, name), encoding='utf-8') as file:
                yield from map(json.loads, file)

    def remove(self) -> None:
        """Forget all records."""
        shutil.rmtree(self.folder)
