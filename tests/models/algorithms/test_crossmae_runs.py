"""CrossMAE through the engine: what is exported, where it goes, what ends a run, and the figure."""

import copy

import numpy as np
import pytest
import torch
from harness import FLOAT32, METHODS, make_config, train_here
from torch.nn import functional as F

import mmmim
from mmmim.checkpoint.read import load_file
from mmmim.engine.hooks.runtime_info import NonFiniteLossError
from mmmim.models.backbones import DenseSwin, DenseViT
from mmmim.models.targets import MomentumTarget
from mmmim.registry import MODELS
from mmmim.structures import DataSample
from mmmim.visualization.images import GREY
from mmmim.visualization.reconstruction import reconstruction_panel

pytestmark = pytest.mark.runs

SWIN = dict(
    type='MaskedSwin', arch=dict(embed_dim=8, depths=(1, 1), num_heads=(1, 2)), img_size=16, patch_size=2, window_size=4
)


@pytest.fixture(scope='module', params=['vit', 'swin'])
def trained(request, tmp_path_factory, image_root):
    """The model and its work dir after two steps."""
    changes = (
        {}
        if request.param == 'vit'
        else {
            'model.backbone': dict(_delete_=True, **SWIN),
            'model.target': dict(_delete_=True, type='HOGTarget'),
            'model.drawing_head.patch_size': 2,
        }
    )
    cfg = make_config(tmp_path_factory.mktemp('trained') / 'run', image_root, 'crossmae', epochs=2, **changes)
    cfg.train_cfg.max_iters = 2
    return train_here(cfg).model, cfg


def test_the_drawing_head_is_gone_from_what_is_exported(trained):
    model, cfg = trained
    exported = load_file(f'{cfg.work_dir}/encoder.safetensors')['state_dict']
    assert exported.keys() == model.backbone.state_dict().keys()
    assert all(torch.equal(value, model.backbone.state_dict()[name]) for name, value in exported.items())


def test_the_backbone_goes_where_others_go(trained):
    """Into timm, and as a dense backbone by one line of a config."""
    model, cfg = trained
    images, model = torch.randn(2, 3, 16, 16), model.eval()
    encoder = mmmim.load_encoder(f'{cfg.work_dir}/encoder.safetensors')
    tokens = encoder.forward_features(images)
    torch.testing.assert_close(tokens if tokens.ndim == 3 else tokens.flatten(1, 2), model.backbone(images), **FLOAT32)
    init = dict(type='Pretrained', checkpoint=f'{cfg.work_dir}/iter_2.pth', prefix='backbone.')
    if isinstance(model.backbone.patch_embed.proj, torch.nn.Conv2d) and hasattr(model.backbone, 'layers'):
        dense = DenseSwin(SWIN['arch'], patch_size=2, window_size=4, out_indices=(0, 1), out_norms=False, init_cfg=init)
        name = 'layers.1.blocks.0.attn.qkv.weight'
    else:
        dense = DenseViT(cfg.model.backbone.arch, img_size=16, patch_size=4, init_cfg=init, out_indices=(1,))
        name = 'blocks.1.attn.qkv.weight'
    dense.init_weights()
    assert torch.equal(dense.state_dict()[name], model.backbone.state_dict()[name])


def test_only_what_is_trained_has_an_optimizer_state(tmp_path, image_root):
    cfg = make_config(tmp_path / 'run', image_root, 'crossmae', epochs=2)
    cfg.train_cfg.max_iters = 1
    runner = train_here(cfg)
    optimized = {id(p) for group in runner.optim_wrapper.optimizer.param_groups for p in group['params']}
    trained = {id(p) for p in runner.model.parameters() if p.requires_grad}
    assert optimized == trained == {id(p) for p in runner.optim_wrapper.optimizer.state}
    assert not any(id(p) in optimized for p in runner.model.target.parameters())


def test_training_goes_on_from_a_checkpoint_of_mae(tmp_path, image_root):
    """The encoder and its average are MAE's; the rest keeps its initialisation."""
    mae = train_here(make_config(tmp_path / 'mae', image_root, 'mae', epochs=2, base_lr=0.0)).model
    cfg = make_config(
        tmp_path / 'crossmae',
        image_root,
        'crossmae',
        epochs=2,
        base_lr=0.0,
        load_from=str(tmp_path / 'mae/epoch_2.pth'),
    )
    model = train_here(cfg).model
    average = next(part for part in model.modules() if isinstance(part, MomentumTarget)).momentum_encoder
    for ours in (model.backbone, average):
        torch.testing.assert_close(dict(ours.state_dict()), dict(mae.backbone.state_dict()), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    'changes',
    [{'model.draw_target': dict(type='BlurredPixelTarget', sigma=None)}, {'model.pred_weight': 10.0}],
    ids=['no-blur', 'lambda-10'],
)
def test_a_diverging_run_is_stopped_with_its_message(tmp_path, image_root, changes):
    """The paper's two cases, made to diverge in a few steps by a learning rate that no float32 survives."""
    cfg = make_config(tmp_path / 'run', image_root, 'crossmae', base_lr=1e20, **changes)
    cfg.optim_wrapper.optimizer = dict(type='SGD', weight_decay=0.0)
    with pytest.raises(NonFiniteLossError, match=r'the loss of iteration \d+ is not finite: .*loss_draw.*Files of its'):
        train_here(cfg)
    assert (tmp_path / 'run/non_finite.json').is_file()


def ramps(batch, generator):
    """Pictures of 16 pixels in which each colour rises in some direction."""
    place = torch.linspace(-1, 1, 16)
    base, down, across = torch.randn(3, batch, 3, 1, 1, generator=generator)
    return base + down * place[:, None] + across * place


def test_it_learns_to_draw_and_to_predict():
    """On new pictures both losses are below what the best constant reaches: the mean of a pixel, of a direction."""
    torch.manual_seed(0)
    model = MODELS.build({**copy.deepcopy(METHODS['crossmae']), 'target': dict(type='PixelTarget')})
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], weight_decay=0.0)
    generator = torch.Generator().manual_seed(0)
    for step in range(100):
        optimizer.param_groups[0]['lr'] = 1e-2 * (1 - step / 100)
        total, _ = model.parse_losses(model.loss(ramps(32, generator)))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    images = ramps(128, generator)
    samples = model.eval().predict(images)
    coarse, directions = model.draw_target(images), F.normalize(model.true_features(images), dim=-1)
    drawn, predicted = (
        torch.stack([sample.get(name) for sample in samples]).mean().item() for name in ('recon_loss', 'pred_loss')
    )
    assert drawn < 0.7 * (coarse - coarse.mean((0, 1))).square().mean()
    assert predicted < -directions.flatten(0, 1).mean(0).norm() - 0.3


# ---------------------------------------------------------------------------------------------------------- figure


@pytest.mark.parametrize(
    'changes, patch',
    [
        ({}, 4),
        (
            dict(
                backbone=SWIN,
                target=dict(type='HOGTarget'),
                drawing_head=dict(type='DrawingHead', patch_size=2, embed_dim=16, num_heads=2),
            ),
            2,
        ),
    ],
    ids=['vit', 'swin'],
)
def test_the_figure_shows_original_blurred_masked_and_two_completions(changes, patch):
    model = MODELS.build({**copy.deepcopy(METHODS['crossmae']), **copy.deepcopy(changes)})
    generator = torch.Generator().manual_seed(1)
    batch = dict(
        inputs=torch.randint(0, 256, (2, 3, 16, 16), generator=generator).byte(),
        data_samples=[DataSample(metainfo=dict(img_path=f'/a/{i}.jpg', seed=i)) for i in range(2)],
    )
    panel = reconstruction_panel(model, batch)
    assert panel.columns == [
        'original',
        'blurred target',
        'masked',
        'reconstruction (completion)',
        'completion with another z',
    ]
    assert panel.notes['uses_original_statistics'] is False
    for original, blurred, masked, first, second in panel.tiles:
        removed = (masked == GREY).all(axis=2)
        squares = removed.reshape(16 // patch, patch, 16 // patch, patch).swapaxes(1, 2).reshape(-1, patch * patch)
        assert squares.all(1).sum() == 0.75 * len(squares)
        for picture in (masked, first, second):
            assert np.array_equal(picture[~removed], original[~removed])
        assert (first[removed] != second[removed]).any()
        assert blurred.std() < original.std()
    again = reconstruction_panel(model, batch)
    assert all(np.array_equal(a, b) for one, two in zip(panel.tiles, again.tiles) for a, b in zip(one, two))
