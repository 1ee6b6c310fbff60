"""GAN-MAE's configs: the paper's recipe, what each ablation changes, and that the pages agree with them."""

import re
from pathlib import Path

import pytest
import yaml
from config_harness import CONFIGS, GONE, ROOT, changed, config, docstring, lines_after_docstring, resolved

OURS = [name for name in CONFIGS if name.startswith('configs/gan_mae/')]
ABLATIONS = [name for name in OURS if name.startswith('configs/gan_mae/ablations/')]
DEFAULT = 'configs/gan_mae/ablations/_default.py'
ARCH = dict(s='small', b='base', l='large')
IMAGENET = {
    f'configs/gan_mae/vit-{size}_{epochs}e.py': (size, epochs) for size in 'sbl' for epochs in (200, 300, 800, 1600)
}


@pytest.mark.parametrize('name', IMAGENET)
def test_the_papers_recipe(name):
    size, epochs = IMAGENET[name]
    cfg = resolved(name)
    assert cfg.model.to_dict() == dict(
        type='GANMAE',
        mask_ratio=0.75,
        masking='random',
        backbone=dict(type='MaskedViT', arch=ARCH[size], img_size=224, patch_size=16),
        data_preprocessor=dict(type='MIMDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
        neck=dict(type='MAEDecoder', embed_dim=512, depth=8, num_heads=16),
        target=dict(type='PixelTarget', norm_pix=False),
        head=dict(type='ReconstructionHead', loss_on='masked'),
        patch_head=dict(type='PatchDiscriminationHead'),
        scheme='adversarial',
        alternate='iteration',
        sharing='shared',
        gamma='adaptive',
        gamma_layer='decoder_pred',
        gamma_delta=1e-6,
        gamma_max=None,
        adv_through_shared=False,
        adv_loss='saturating',
        adv_mean='all',
        reduction='mean',
    )
    assert (cfg.max_epochs, cfg.warmup_epochs, cfg.total_batch_size) == (epochs, 40, 4096)
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == 'AdamW' and tuple(optimizer.betas) == (0.9, 0.95) and optimizer.weight_decay == 0.05
    assert optimizer.lr == pytest.approx(1.5e-4 * 16)


@pytest.mark.parametrize('name', IMAGENET)
def test_images_are_those_of_mae(name):
    assert config(name).train_dataloader == config('configs/mae/vit-b_800e.py').train_dataloader


@pytest.mark.parametrize('name', [name for name in OURS if 'mae-75' not in name] + ['configs/quickstart/gan_mae.py'])
def test_each_config_has_what_two_players_need(name):
    cfg = config(name)
    assert cfg.optim_wrapper.constructor == 'PlayersOptimWrapperConstructor'
    assert cfg.model_wrapper_cfg.find_unused_parameters is True
    assert cfg.default_hooks.discriminator.type == 'DiscriminatorHook'


@pytest.mark.parametrize('name', ['vit-tiny_cifar10', 'vit-tiny_folder', 'vit-b_800e'])
def test_a_discriminator_is_all_that_is_added_to_mae(name):
    parts = {tuple(key.split('.')[:2]) for key in changed(f'configs/gan_mae/{name}.py', f'configs/mae/{name}.py')}
    new = {
        'type',
        'target',
        'patch_head',
        'scheme',
        'alternate',
        'sharing',
        'gamma',
        'gamma_layer',
        'gamma_delta',
        'gamma_max',
        'adv_through_shared',
        'adv_loss',
        'adv_mean',
        'reduction',
    }
    assert parts - {('max_batch_per_device',)} == {
        *(('model', part) for part in new),
        ('optim_wrapper', 'constructor'),
        ('model_wrapper_cfg', 'find_unused_parameters'),
        ('default_hooks', 'discriminator'),
    }


def test_quickstart_differs_from_that_of_mae_in_the_method_alone():
    keys = changed('configs/quickstart/gan_mae.py', 'configs/quickstart/mae.py')
    assert {key.rpartition('.')[0] for key in keys} == {
        'model',
        'model.target',
        'model.patch_head',
        'optim_wrapper',
        'model_wrapper_cfg',
        'default_hooks.discriminator',
    }


# ---------------------------------------------------------------- ablations: what each row changes, and nothing else


def rows(**cases):
    """``{name: (difference, epochs)}`` to the differences with the epochs in them."""
    return {
        name: {**difference, **({} if epochs == 800 else {'max_epochs': epochs})}
        for name, (difference, epochs) in cases.items()
    }


LAMBDA = 'model.disc_weight'
COMBINED = {'model.scheme': 'combined'}
DIFFERENCES = {
    **rows(
        **{
            f'sharing-{player}_{epochs}e': ({'model.sharing': 'separate', 'model.export': player}, epochs)
            for player in ('generator', 'discriminator')
            for epochs in (800, 1600)
        }
    ),
    **rows(**{f'sharing-shared_{epochs}e': ({}, epochs) for epochs in (800, 1600)}),
    **rows(
        **{
            f'scheme-{name}_{epochs}e': (difference, epochs)
            for epochs in (300, 800)
            for name, difference in (
                ('two-stage', {'model.scheme': 'two_stage'}),
                ('combined', {**COMBINED, LAMBDA: 2.0}),
                ('adversarial', {}),
            )
        }
    ),
    **rows(
        **{
            f'mask-ratio-{ratio}_{epochs}e': ({} if ratio == 75 else {'model.mask_ratio': ratio / 100}, epochs)
            for ratio in (70, 75, 80)
            for epochs in (800, 1600)
        }
    ),
    **rows(**{f'disc-weight-{weight}': ({**COMBINED, LAMBDA: weight}, 300) for weight in (1, 2, 5, 10)}),
    **rows(**{'loss-sum_combined': ({**COMBINED, 'model.reduction': 'sum'}, 300)}),
    'image-level': {'model.image_head.type': 'ImageDiscriminationHead', 'model.unchanged_ratio': 0.5},
    'adv-through-shared': {'model.adv_through_shared': True},
    'adv-non-saturating': {'model.adv_loss': 'non_saturating'},
    'adv-mean-apart': {'model.adv_mean': 'apart'},
    'gamma-max': {'model.gamma_max': 10.0},
    'alternate-epoch': {'model.alternate': 'epoch'},
    'optimizers-1': {'optim_wrapper.optimizers': 1},
    'target-pixel-norm': {'model.target.norm_pix': True},
}
PLAIN_MAE = {f'mask-ratio-mae-75_{epochs}e': f'configs/mae/vit-b_{epochs}e.py' for epochs in (800, 1600)}


def test_every_ablation_is_listed():
    assert {Path(name).stem for name in ABLATIONS} == {*DIFFERENCES, *PLAIN_MAE}


@pytest.mark.parametrize('row', DIFFERENCES)
def test_ablation_differs_in_what_it_names(row):
    name = f'configs/gan_mae/ablations/{row}.py'
    schedule = {'max_epochs'}  # which what follows from it does not repeat
    found = {
        key: value
        for key, value in changed(name, DEFAULT).items()
        if key in schedule or not key.startswith(('param_scheduler', 'train_cfg'))
    }
    assert found == DIFFERENCES[row] and GONE not in found.values()
    assert lines_after_docstring(name) <= 3
    assert ('The same as the default.' in docstring(name)) == (DIFFERENCES[row] == {})


def test_ablation_default_is_the_papers_recipe():
    assert changed(DEFAULT, 'configs/gan_mae/vit-b_800e.py') == {}


@pytest.mark.parametrize('row', PLAIN_MAE)
def test_rows_of_mae_are_mae(row):
    assert changed(f'configs/gan_mae/ablations/{row}.py', PLAIN_MAE[row]) == {}


# --------------------------------------------------------------------------------------------------------- the pages


@pytest.mark.parametrize('name', [*IMAGENET, *ABLATIONS, DEFAULT])
def test_docstring_says_hardware_result_and_where_it_stands(name):
    text = ' '.join(docstring(name).split())
    assert '8 GPUs with 80 GB' in text and 'Published' in text and 'Not reproduced by this code yet.' in text


def test_both_figures_are_quoted_where_the_paper_has_two():
    for name in ('vit-b_300e', 'ablations/scheme-adversarial_300e'):
        text = docstring(f'configs/gan_mae/{name}.py')
        assert '84.0%' in text and '82.2%' in text


def test_metafile_names_configs_and_claims_nothing():
    meta = yaml.safe_load((ROOT / 'configs/gan_mae/metafile.yml').read_text())
    assert sorted(model['Config'] for model in meta['Models']) == sorted(IMAGENET)
    assert (ROOT / meta['Collections'][0]['README']).is_file()
    for model in meta['Models']:
        assert model['In Collection'] == 'GAN-MAE' and 'Weights' not in model
        assert model['Metadata']['Epochs'] == config(model['Config']).max_epochs
        assert not model['Results'] or 'not reproduced by this code' in model['Metadata']['Results Source']
        for result in model['Results'] or []:
            assert all(f'{value}%' in docstring(model['Config']) for value in result['Metrics'].values())


def test_readme_links_every_config_with_the_numbers_of_its_docstring():
    text = (ROOT / 'configs/gan_mae/README.md').read_text()
    links = {(ROOT / 'configs/gan_mae' / link).resolve() for link in re.findall(r'\]\(([^):]+\.(?:py|md))\)', text)}
    assert all(link.is_file() for link in links)
    assert {ROOT / name for name in [*OURS, DEFAULT, 'configs/quickstart/gan_mae.py']} <= links
    table = re.findall(r'^\| \d, .* \| (\d+) \| ([\d.]+) \| \[[^]]+\]\((ablations/.+)\) \|$', text, flags=re.M)
    assert len(table) == 6 + 6 + 8
    for epochs, accuracy, link in table:
        assert f'{accuracy}%' in docstring(f'configs/gan_mae/{link}')
        assert config(f'configs/gan_mae/{link}').max_epochs == int(epochs)
