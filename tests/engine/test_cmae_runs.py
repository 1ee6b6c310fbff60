"""CMAE through the engine: checkpoints of others, and batches without negatives."""

import numpy as np
import pytest
import torch
from harness import ROOT, make_config, read_curve, train_here

from mmmim.engine.hooks.run_record import read_record
from mmmim.engine.launch import build_runner

pytestmark = pytest.mark.runs


def _official(cfg):
    """The authors' preset at the size of their fixture."""
    decoder = dict(type='MAEDecoder', embed_dim=32, num_heads=4)
    heads = dict(type='Projector', hidden_dim=64, out_dim=16)
    cfg.merge_from_dict(
        dict(
            model=dict(
                _delete_=True,
                type='CMAE',
                mask_ratio=0.65,
                masking='unit',
                feature_out='pixels',
                data_preprocessor=dict(type='ViewPreprocessor', target_view=dict(type='ColorAugment')),
                backbone=dict(
                    type='MaskedViT', arch=dict(embed_dim=48, depth=2, num_heads=3), img_size=32, patch_size=4
                ),
                neck=dict(depth=2, **decoder),
                feature_decoder=dict(depth=1, **decoder),
                projector=heads,
                predictor=heads,
                target_backbone=dict(final_norm=False),
                contrast_head=dict(type='ContrastiveHead', scale=0.14),
                target=dict(type='PixelTarget'),
                head=dict(type='ReconstructionHead'),
            )
        )
    )
    cfg.train_dataloader.dataset.pipeline[1].update(size=32, master_size=40, max_shift=8)
    return cfg


def test_the_authors_checkpoint_is_continued(tmp_path, image_root):
    """``load_from`` fills all of it: with a learning rate of 0 the weights stay theirs."""
    data = np.load(ROOT / 'tests/data/cmae_official.npz')
    state = {key[3:]: torch.from_numpy(data[key]).float() for key in data if key.startswith('sd/')}
    torch.save(dict(state_dict=state), tmp_path / 'cmae.pth')
    cfg = _official(make_config(tmp_path / 'run', image_root, 'cmae', epochs=2))
    cfg.merge_from_dict(dict(load_from=str(tmp_path / 'cmae.pth'), base_lr=0.0))
    cfg.train_cfg.max_iters = 1
    model = train_here(cfg).model
    assert torch.equal(model.backbone.blocks[1].attn.qkv.weight, state['backbone.layers.1.attn.qkv.weight'])
    assert torch.equal(model.neck.decoder_pred.weight, state['pixel_decoder.decoder_pred.weight'])
    assert torch.equal(model.feature_decoder.decoder_pred.weight, state['feature_decoder.decoder_pred.weight'])
    assert torch.equal(model.predictor.fc1.weight, state['head.predictor.fc1.weight'])
    torch.testing.assert_close(
        model.target_projector.fc0.weight,
        0.996 * state['target_projector.fc0.weight'] + 0.004 * state['projector.fc0.weight'],
    )


def test_training_goes_on_from_a_checkpoint_of_mae(tmp_path, image_root):
    mae = train_here(make_config(tmp_path / 'mae', image_root, 'mae', epochs=2, base_lr=0.0)).model
    cfg = make_config(
        tmp_path / 'cmae', image_root, 'cmae', epochs=2, base_lr=0.0, load_from=str(tmp_path / 'mae/epoch_2.pth')
    )
    model = train_here(cfg).model
    for ours in (model.backbone, model.target_backbone):
        torch.testing.assert_close(dict(ours.state_dict()), dict(mae.backbone.state_dict()), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    'changes', [dict(batch=1), {'batch': 4, 'max_batch_per_device': 1, 'model.exact_accumulation': False}]
)
def test_batches_without_negatives_are_refused_before_training(tmp_path, image_root, changes):
    cfg = make_config(tmp_path / 'run', image_root, 'cmae', **changes)
    with pytest.raises(ValueError, match='nothing to contrast with'):
        build_runner(cfg)


def test_single_images_that_accumulate_are_contrasted_with_each_other(tmp_path, image_root):
    cfg = make_config(tmp_path / 'run', image_root, 'cmae', epochs=2, batch=4, max_batch_per_device=1)
    cfg.train_cfg.max_iters = 2
    train_here(cfg)
    assert [line['negatives'] for line in read_curve(tmp_path / 'run')] == [3, 3]
    record = read_record(str(tmp_path / 'run'))
    assert (record['negatives'], record['batch'], record['accumulation']) == (3, 1, 4)


def test_target_branch_has_no_optimizer_state(tmp_path, image_root):
    cfg = make_config(tmp_path / 'run', image_root, 'cmae', epochs=2)
    cfg.train_cfg.max_iters = 1
    runner = train_here(cfg)
    optimized = {id(p) for group in runner.optim_wrapper.optimizer.param_groups for p in group['params']}
    trained = {id(p) for p in runner.model.parameters() if p.requires_grad}
    assert optimized == trained == {id(p) for p in runner.optim_wrapper.optimizer.state}
    assert not any(id(p) in optimized for p in runner.model.target_backbone.parameters())
