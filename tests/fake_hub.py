"""A cache of the Hugging Face hub with random weights, and a hub that cannot be reached."""

import json
from pathlib import Path
from typing import Any, Dict, Optional

import huggingface_hub
import timm
from safetensors.torch import save_file
from torch import nn

COMMIT = '0' * 40


class FakeHub:
    """Files in a folder, laid out as the hub's cache; what is not in it cannot be fetched."""

    def __init__(self, folder: Path, monkeypatch: Any) -> None:
        self.folder = folder
        monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(folder))
        monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)

    def put(self, repository: str, file: str, content: str) -> Path:
        """A file of a repository, as if it had been fetched."""
        root = self.folder / f'models--{repository.replace("/", "--")}'
        path = root / 'snapshots' / COMMIT / file
        path.parent.mkdir(parents=True, exist_ok=True)
        (root / 'refs').mkdir(exist_ok=True)
        (root / 'refs/main').write_text(COMMIT)
        path.write_text(content)
        return path

    def put_weights(self, repository: str, module: nn.Module, file: str = 'model.safetensors') -> Path:
        path = self.put(repository, file, '')
        save_file({key: value.contiguous().clone() for key, value in module.state_dict().items()}, path)
        return path

    def put_timm(self, name: str, **options: Any) -> nn.Module:
        """Random weights of timm's model ``NAME.TAG`` in its repository; returns the model without classifier."""
        module = timm.create_model(name, pretrained=False, num_classes=0, **options).eval()
        self.put_weights(timm.get_pretrained_cfg(name).hf_hub_id, module)
        return module

    def put_config(self, repository: str, config: Dict[str, Any], card: Optional[str] = None) -> None:
        self.put(repository, 'config.json', json.dumps(config))
        if card is not None:
            self.put(repository, 'README.md', card)
