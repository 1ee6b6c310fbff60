"""The batches of an optimizer step: for methods that take all of them, and for other toolboxes' models."""

import pytest
import torch
from harness import largest_difference, load_weights, make_config, train_here
from mmengine.model import BaseModel
from torch import nn

from mmmim.registry import MODELS

pytestmark = pytest.mark.runs


@MODELS.register_module(force=True)
class Foreign(BaseModel):
    """As an algorithm of another toolbox: MMEngine's ``train_step``, one batch at a time."""

    def __init__(self):
        super().__init__(data_preprocessor=dict(type='mmmim.MIMDataPreprocessor'))
        self.backbone = nn.Linear(3, 1)

    def forward(self, inputs, data_samples=None, mode='loss'):
        return dict(loss=self.backbone(inputs.mean((2, 3))).square().mean())


def foreign(folder, images, **options):
    cfg = make_config(folder, images, epochs=2, **{'default_hooks.export_encoder': None, **options})
    cfg.model = dict(type='Foreign')
    cfg.default_hooks.checkpoint.interval = 2
    return cfg


def test_mmengines_wrapper_counts_the_batches_of_a_foreign_model(tmp_path, image_root):
    runner = train_here(foreign(tmp_path / 'cut', image_root, max_batch_per_device=4))
    assert runner.optim_wrapper._accumulative_counts == 4 and runner.optim_wrapper._inner_count == 2 * 4 * 4
    train_here(foreign(tmp_path / 'whole', image_root))
    assert largest_difference(load_weights(tmp_path / 'cut'), load_weights(tmp_path / 'whole')) < 1e-6


@pytest.mark.parametrize(
    'make, options, words',
    [
        (make_config, {'optim_wrapper.accumulative_counts': 2}, 'accumulative_counts=2.*max_batch_per_device'),
        (foreign, {'train_cfg.batches_per_step': 2}, 'batches_per_step=2: Foreign has no train_steps'),
    ],
    ids=['ours', 'foreign'],
)
def test_a_count_in_the_wrong_place_is_an_error(make, options, words, tmp_path, image_root):
    with pytest.raises(ValueError, match=words):
        train_here(make(tmp_path, image_root, **options))


def test_a_config_of_version_0_2_states_the_same_count_in_the_wrapper(tmp_path, image_root):
    cfg = make_config(
        tmp_path, image_root, epochs=2, max_batch_per_device=8, **{'optim_wrapper.accumulative_counts': 2}
    )
    runner = train_here(cfg)
    assert runner.train_loop.accumulation == 2 and runner.optim_wrapper._accumulative_counts == 1
    assert torch.isfinite(next(runner.model.parameters())).all()
