"""The scripts in examples/ do what they say."""

import importlib.util

import pytest
import torch
from harness import ROOT, python

from mmmim.models.targets import PixelTarget


def example(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f'examples/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def mae():
    torch.manual_seed(0)
    return example('mae_in_60_lines')


@pytest.mark.runs
def test_mae_in_60_lines_learns(mae, capsys):
    encoder, losses = mae.pretrain(steps=60, batch=16)
    patches = PixelTarget(mae.PATCH)((mae.waves(256) - mae.MEAN) / mae.STD)
    constant = patches.square().mean().item()  # of a prediction of each patch's mean, which is 0 when normalised
    assert sum(losses[-10:]) / 10 < 0.75 * constant < losses[0]
    assert encoder(torch.zeros(1, 3, mae.SIZE, mae.SIZE)).shape == (1, 1 + (mae.SIZE // mae.PATCH) ** 2, 96)
    assert 'step   40  loss' in capsys.readouterr().out


def test_it_reads_a_folder_and_leaves_out_what_cannot_be_read(mae, image_root, tmp_path, capsys):
    (tmp_path / 'torn.jpg').write_bytes((image_root / 'class0/000.jpg').read_bytes()[:200])
    (tmp_path / 'whole.jpg').write_bytes((image_root / 'class0/000.jpg').read_bytes())
    images = mae.photos(str(tmp_path), ['torn.jpg', 'whole.jpg'], 8)
    assert images.shape == (8, 3, mae.SIZE, mae.SIZE) and 0 <= images.min() and images.max() <= 255
    assert 'torn.jpg' in capsys.readouterr().out


@pytest.mark.runs
def test_it_is_a_command(image_root):
    done = python(ROOT / 'examples/mae_in_60_lines.py', image_root, '--steps', 2, '--batch', 4, check=True)
    assert done.stdout.count('loss') == 2


def test_it_is_short():
    code = (ROOT / 'examples/mae_in_60_lines.py').read_text().split('"""', 2)[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= 70
