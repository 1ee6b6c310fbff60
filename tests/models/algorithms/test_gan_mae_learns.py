"""The discriminator learns to find a frozen generator's patches, in drawn scenes that neither has seen."""

import sys

import pytest
import torch
from gan_harness import optimizers, tiny
from harness import ROOT
from mmengine.logging import MessageHub

from mmmim.models.algorithms.adversarial import DISCRIMINATOR, GENERATOR
from mmmim.structures import DataSample

sys.path.insert(0, str(ROOT / 'tools/datasets'))
from scenes.scene import draw_scene  # noqa: E402

pytestmark = pytest.mark.runs

SIZE, BATCH = 32, 32
MAJORITY = 0.75  # of the patches are generated


@pytest.fixture(scope='module')
def pixels():
    """Scenes to learn from, and others: uint8 ``[N, 3, 32, 32]``."""
    return [
        torch.stack([torch.from_numpy(draw_scene(0, split, i, SIZE).image).permute(2, 0, 1) for i in range(count)])
        for split, count in ((0, 160), (1, 80))
    ]


def epoch_of(model, player, optim_wrapper, train, steps, monkeypatch):
    epoch = [GENERATOR, DISCRIMINATOR].index(player)
    monkeypatch.setitem(MessageHub.get_current_instance().runtime_info, 'epoch', epoch)
    generator = torch.Generator().manual_seed(0)
    for i in range(steps):
        index = torch.randperm(len(train), generator=generator)[:BATCH]
        samples = [DataSample(metainfo=dict(seed=1000 * i + int(j))) for j in index]
        model.train_step(dict(inputs=train[index], data_samples=samples), optim_wrapper)


def test_accuracy_on_unseen_scenes_is_above_the_majority(pixels, monkeypatch):
    train, unseen = pixels
    model = tiny(
        scheme='two_stage',
        alternate='epoch',
        sharing='separate',
        backbone=dict(type='MaskedViT', arch=dict(embed_dim=48, depth=2, num_heads=3), img_size=SIZE, patch_size=8),
    )
    optim_wrapper = optimizers(model, 2, dict(type='AdamW', lr=3e-3))
    epoch_of(model, GENERATOR, optim_wrapper, train, 80, monkeypatch)
    frozen = {name: p.clone() for name, p in model.named_parameters() if name.startswith(('backbone.', 'neck.'))}

    def measure():
        inputs = model.data_preprocessor(dict(inputs=unseen))['inputs']
        with torch.no_grad():
            _, corrupted = model.generator_loss(inputs, [DataSample(metainfo=dict(seed=i)) for i in range(len(unseen))])
            losses = model.discriminator_loss(corrupted)
        original, generated = losses['original_accuracy'].item(), losses['generated_accuracy'].item()
        return original, generated, (1 - MAJORITY) * original + MAJORITY * generated

    before = measure()
    epoch_of(model, DISCRIMINATOR, optim_wrapper, train, 120, monkeypatch)
    assert all(torch.equal(p, frozen[name]) for name, p in model.named_parameters() if name in frozen)
    original, generated, overall = measure()
    assert before[2] < MAJORITY + 0.05
    assert overall > max(MAJORITY, before[2]) + 0.1
    assert original > 0.5 and generated > 0.8  # the majority's answer has 0 and 1
