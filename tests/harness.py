"""Training runs for tests: a tiny model of each method, as configs and as commands."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest
import torch
import warm_start
from mmengine.config import Config

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = str(Path(__file__).resolve().parent)
DATA = Path(os.environ.get('MMMIM_DATA', 'MMMIM_DATA is not set'))  # photographs and CIFAR-10, where there are any

# a two-block model of each method; the harness's tests run over all of them
METHODS: Dict[str, dict] = {
    'mae': dict(
        type='MAE',
        backbone=dict(
            type='MaskedViT',
            arch=dict(embed_dim=32, depth=2, num_heads=2),
            img_size=16,
            patch_size=4,
            drop_path_rate=0.1,
        ),
        neck=dict(type='MAEDecoder', embed_dim=16, depth=1, num_heads=2),
        target=dict(type='PixelTarget'),
        head=dict(type='ReconstructionHead'),
    ),
}
METHODS['cmae'] = dict(
    METHODS['mae'],
    type='CMAE',
    data_preprocessor=dict(type='ViewPreprocessor', target_view=dict(type='ColorAugment', blur_prob=0.5)),
    feature_decoder=dict(type='MAEDecoder', embed_dim=16, depth=1, num_heads=2),
    projector=dict(type='Projector', hidden_dim=32, out_dim=16),
    predictor=dict(type='Projector', hidden_dim=32, out_dim=16),
    contrast_head=dict(type='ContrastiveHead'),
)
METHODS['vision_electra'] = dict(
    METHODS['mae'],
    type='VisionELECTRA',
    target=dict(type='PixelTarget', norm_pix=False),
    generator=dict(type='MaskedViT', arch=dict(embed_dim=32, depth=2, num_heads=2), img_size=16, patch_size=4),
    image_head=dict(type='ImageDiscriminationHead'),
    patch_head=dict(type='PatchDiscriminationHead'),
)
METHODS['gan_mae'] = dict(
    METHODS['mae'],
    type='GANMAE',
    target=dict(type='PixelTarget', norm_pix=False),
    patch_head=dict(type='PatchDiscriminationHead'),
)
METHODS['crossmae'] = dict(
    type='CrossMAE',
    backbone=METHODS['mae']['backbone'],
    drawing_head=dict(type='DrawingHead', embed_dim=16, num_heads=2),
    # both kinds of targets: one that follows the encoder and its predictor, and one that is computed
    target=dict(
        type='CombinedTarget',
        targets=[
            dict(type='MomentumTarget', ema_momentum=0.9, layer=[1, 2], normalize=True, average='predictor'),
            dict(type='HOGTarget'),
        ],
    ),
    predictor=dict(type='LinearPredictor'),
    pred_weight=0.5,
)
# what a method's config needs beside its model
OPTIONS: Dict[str, dict] = {
    'gan_mae': {
        'optim_wrapper.constructor': 'PlayersOptimWrapperConstructor',
        'model_wrapper_cfg.find_unused_parameters': True,
    }
}
TWO_VIEWS = {'cmae'}  # methods that train on two views of each image


def make_config(
    work_dir: Path,
    images: Path,
    method: str = 'mae',
    epochs: int = 3,
    batch: int = 16,
    workers: int = 0,
    **overrides: Any,
) -> Config:
    """A whole training config: 64 images in batches of 16 make 4 iterations an epoch."""
    views = (
        [dict(type='PixelShift', size=16, master_size=20, max_shift=4)]
        if method in TWO_VIEWS
        else [dict(type='RandomResizedCrop', size=16), dict(type='RandomFlip')]
    )
    pipeline = [dict(type='LoadImage'), *views, dict(type='PackImage')]
    runtime = Config.fromfile(str(ROOT / 'configs/_base_/default_runtime.py'))
    cfg = Config(dict(runtime._cfg_dict.to_dict()))
    cfg.merge_from_dict(
        dict(
            model=METHODS[method],
            work_dir=str(work_dir),
            experiment_name=f'{work_dir.parent.name}_{work_dir.name}',
            total_batch_size=batch,
            base_lr=1e-2,
            max_epochs=epochs,
            warmup_epochs=1,
            train_dataloader=dict(
                num_workers=workers,
                sampler=dict(type='EpochSampler', shuffle=True),
                collate_fn=dict(type='mmmim.mim_collate'),
                dataset=dict(type='ImageFolder', data_root=str(images), pipeline=pipeline),
            ),
            optim_wrapper=dict(
                type='AutocastOptimWrapper',
                dtype='float32',
                constructor='GroupedOptimWrapperConstructor',
                optimizer=dict(type='AdamW', betas=(0.9, 0.95), weight_decay=0.05, fused=True),
                paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
            ),
            param_scheduler=[
                dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, convert_to_iter_based=True),
                dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
            ],
            train_cfg=dict(type='ResumableEpochLoop'),
        )
    )
    cfg.merge_from_dict(
        {
            'default_hooks.logger.interval': 3,
            'default_hooks.checkpoint.interval': 1,
            'default_hooks.checkpoint.interval_minutes': -1,
            'custom_imports.imports': ['mmmim', 'run_plugin'],
        }
    )
    cfg.merge_from_dict(OPTIONS.get(method, {}))
    cfg.merge_from_dict(overrides)
    return cfg


def save_config(cfg: Config, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cfg.dump(str(path))
    return path


def environment(**variables: str) -> Dict[str, str]:
    return {**os.environ, 'PYTHONPATH': PLUGIN, 'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable, **variables}


def python(
    *args: Any,
    cwd: Optional[Path] = None,
    check: bool = False,
    processes: int = 1,
    timeout: int = 300,
    fresh: bool = False,
    toolbox: str = '',
    **variables: str,
) -> subprocess.CompletedProcess:
    """What ``python ARGS`` prints and ends with: a script, or ``-c`` or ``-m``, and its arguments.

    Args:
        cwd: Working directory.
        check: Whether anything but success is an error.
        processes: Of a distributed run on the CPU, of tools/train.py or tools/test.py.
        fresh: Start it as a person does: by Python, and by tools/dist_train.sh with several processes. Otherwise it is
            forked from a process that has imported what it needs, see :mod:`warm_start`.
        toolbox: What else to have imported then, such as ``'mmseg'``.
        **variables: Of the environment.
    """
    command, env = list(map(str, args)), environment(**variables)
    if not fresh:
        done = warm_start.run(command, env, cwd or Path.cwd(), processes, timeout, toolbox)
    else:
        if processes == 1:
            command = [sys.executable, *command]
        else:
            script, config, *rest = command
            command = ['bash', str(ROOT / f'tools/dist_{Path(script).stem}.sh'), config, str(processes), *rest]
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=timeout, cwd=cwd, start_new_session=True
        )
    if check and done.returncode:
        raise AssertionError(f'{command} ended with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}')
    return done


def run_tool(script: str, config: Path, *args: Any, check: bool = True, **options: Any) -> subprocess.CompletedProcess:
    """Run a script of tools/ on a config, in its folder, see :func:`python`."""
    scope = re.search(r"default_scope = '(mm\w+)'", config.read_text())
    toolbox = scope[1] if scope and scope[1] != 'mmmim' else ''
    options = {'toolbox': toolbox, 'check': check, **options}
    return python(ROOT / 'tools' / script, config, *args, cwd=config.parent, **options)


def train(config: Path, *args: Any, **options: Any) -> subprocess.CompletedProcess:
    return run_tool('train.py', config, *args, **options)


def train_here(cfg: Config):
    """Train in this process and return the runner."""
    from mmmim.engine.launch import build_runner

    runner = build_runner(cfg.copy())
    runner.train()
    return runner


def read_curve(work_dir: Path) -> List[dict]:
    return [json.loads(line) for line in (work_dir / 'curve.jsonl').read_text().splitlines()]


def load_weights(work_dir: Path, name: Optional[str] = None) -> Dict[str, torch.Tensor]:
    """The weights of the newest checkpoint (or of a named one)."""
    path = work_dir / name if name else Path((work_dir / 'last_checkpoint').read_text().strip())
    return torch.load(path, weights_only=True)['state_dict']


def transformers_model(model: Any, state: Dict[str, torch.Tensor]) -> Any:
    """A model of transformers with weights in the names of its files: version 5 has other ones in memory."""
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        tensors = {name: value.float().contiguous().clone() for name, value in state.items()}
        save_file(tensors, f'{folder}/model.safetensors', metadata=dict(format='pt'))
        loaded, info = type(model).from_pretrained(folder, output_loading_info=True)
    assert not info['missing_keys'] and not info['unexpected_keys'], info
    return loaded.eval()


# for torch.testing.assert_close, which adds the two: 1e-5 for values of size 1, relative to the size of larger ones
FLOAT32 = dict(rtol=5e-6, atol=5e-6)


def near(expected: Any, bound: float = 1e-5) -> Any:
    """Equals numbers that are within the bound, relative to their size above 1: ``found == near(expected)``."""
    return pytest.approx(expected, rel=bound, abs=bound)


def largest_difference(a: Dict[str, torch.Tensor], b: Dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max((a[k].double() - b[k].double()).abs().max().item() for k in a)
