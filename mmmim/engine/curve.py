"""The curve of a run: one JSON object a line, which a resumed run continues."""

import json
import os
from typing import Any, Dict, List

from ..checkpoint import atomic_write_text


class CurveFile:
    """Append-only lines ``{"iter": 10, "epoch": 1, "loss": 0.7, ...}``, in order."""

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self) -> List[Dict[str, Any]]:
        """All whole lines; a line torn by a crash is left out."""
        if not os.path.exists(self.path):
            return []
        records = []
        with open(self.path) as file:
            for line in file:
                try:
                    records.append(json.loads(line))
                except ValueError:
                    continue
        return records

    def cut_after(self, last_iter: int) -> None:
        """Drop what was recorded after ``last_iter``: a run that resumes there will record it again."""
        if os.path.exists(self.path):
            kept = [record for record in self.read() if record['iter'] <= last_iter]
            atomic_write_text(self.path, ''.join(json.dumps(record) + '\n' for record in kept))

    def replace(self, record: Dict[str, Any]) -> None:
        """Append a measurement; an earlier one of the same values at the same iteration goes (a run that resumed)."""
        values = set(record) - {'iter', 'epoch'}
        records = self.read()
        kept = [old for old in records if old['iter'] != record['iter'] or not values & set(old)]
        if len(kept) < len(records):
            atomic_write_text(self.path, ''.join(json.dumps(old) + '\n' for old in kept))
        self.append([record])

    def append(self, records: List[Dict[str, Any]]) -> None:
        if records:
            with open(self.path, 'a') as file:
                file.write(''.join(json.dumps(record) + '\n' for record in records))
