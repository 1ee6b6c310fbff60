"""CMAE's configs: the paper's recipe, what the authors' code has instead, and what each ablation changes."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from config_harness import CONFIGS, GONE, ROOT, changed, config, docstring, lines_after_docstring, read, resolved
from PIL import Image

OURS = [name for name in CONFIGS if name.startswith('configs/cmae/')]
ABLATIONS = [name for name in OURS if name.startswith('configs/cmae/ablations/')]
DEFAULT = 'configs/cmae/ablations/_default.py'
ENCODERS = {
    **{
        f'vit-{size}': dict(type='MaskedViT', arch=arch, img_size=224, patch_size=16)
        for size, arch in (('s', 'small'), ('b', 'base'), ('l', 'large'))
    },
    **{
        f'conv-vit-{name}b': dict(type='ConvViT', arch='base', conv_vit=kind, img_size=224, patch_size=16)
        for name, kind in (('', 'hybrid'), ('stem-', 'stem'))
    },
}
LENGTHS = {**{f'vit-{size}': (300, 800, 1600) for size in 'sbl'}, 'conv-vit-b': (800, 1600), 'conv-vit-stem-b': (800,)}
IMAGENET = {
    f'configs/cmae/{encoder}_{epochs}e.py': (encoder, epochs)
    for encoder, lengths in LENGTHS.items()
    for epochs in lengths
}
OFFICIAL = {
    f'configs/cmae/official/vit-b_{epochs}e.py': f'configs/cmae/vit-b_{epochs}e.py' for epochs in (300, 800, 1600)
}
LOAD, PACK = dict(type='LoadImage'), dict(type='PackImage')
COLORS = dict(
    type='ColorAugment',
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    prob=0.8,
    gray_prob=0.2,
    blur_prob=0.0,
    blur_sigma=(0.1, 2.0),
)


@pytest.fixture(scope='module')
def photo(tmp_path_factory):
    """A picture in which no two pixels are the same: column in red and blue, row in green and blue."""
    path = tmp_path_factory.mktemp('photos') / 'photo.png'
    rows, columns = np.mgrid[:300, :300]
    pixels = np.stack([columns % 256, rows % 256, 16 * (columns // 256) + rows // 256], axis=-1)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return str(path)


# -------------------------------------------------------------------------------------------------- the two presets


@pytest.mark.parametrize('name', IMAGENET)
def test_the_papers_recipe(name):
    encoder, epochs = IMAGENET[name]
    cfg = resolved(name)
    assert cfg.model.to_dict() == dict(
        type='CMAE',
        mask_ratio=0.75,
        masking='random',
        backbone=ENCODERS[encoder],
        data_preprocessor=dict(
            type='ViewPreprocessor', target_view=COLORS, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
        ),
        neck=dict(type='MAEDecoder', embed_dim=512, depth=8, num_heads=16),
        feature_decoder=dict(type='MAEDecoder', embed_dim=512, depth=2, num_heads=16),
        feature_out='embed_dim',
        target=dict(type='PixelTarget', norm_pix=True),
        head=dict(type='ReconstructionHead', loss_on='masked'),
        projector=dict(type='Projector', hidden_dim=1536, out_dim=256),
        predictor=dict(type='Projector', hidden_dim=1536, out_dim=256),
        contrast_head=dict(type='ContrastiveHead', kind='infonce', temperature=0.07, scale=1.0),
        contrast_weight=1.0,
        momentum=0.996,
        target_mask_ratio=0.0,
    )
    assert cfg.train_dataloader.dataset.pipeline == [
        LOAD,
        dict(
            type='PixelShift',
            size=224,
            master_size=256,
            max_shift=31,
            scale=(0.2, 1.0),
            interpolation='bicubic',
            flip_prob=0.5,
        ),
        PACK,
    ]
    assert (cfg.max_epochs, cfg.warmup_epochs, cfg.total_batch_size) == (epochs, 40, 4096)
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == 'AdamW' and tuple(optimizer.betas) == (0.9, 0.95) and optimizer.weight_decay == 0.05
    assert optimizer.lr == pytest.approx(1.5e-4 * 16)


@pytest.mark.parametrize('name', [*IMAGENET, *OFFICIAL])
def test_32_devices_contrast_the_whole_batch(name):
    cfg = resolved(name, processes=32)
    assert (cfg.train_dataloader.batch_size, cfg.optim_wrapper.accumulative_counts) == (128, 1)


@pytest.mark.parametrize('name', OFFICIAL)
def test_the_authors_code_differs_from_the_paper_by_these_keys(name):
    assert changed(name, OFFICIAL[name]) == {
        'model.masking': 'unit',
        'model.mask_ratio': 0.65,
        'model.feature_out': 'pixels',
        'model.target_backbone.final_norm': False,
        'model.contrast_head.scale': pytest.approx(2 * 0.07),
        'model.data_preprocessor.target_view.blur_prob': 0.5,
    }


@pytest.mark.parametrize('name', ['vit-tiny_cifar10', 'vit-tiny_folder'])
def test_small_configs_add_a_target_branch_to_those_of_mae(name):
    new = {
        'type',
        'data_preprocessor',
        'feature_decoder',
        'feature_out',
        'projector',
        'predictor',
        'contrast_head',
        'contrast_weight',
        'momentum',
        'target_mask_ratio',
    }
    parts = {tuple(key.split('.')[:2]) for key in changed(f'configs/cmae/{name}.py', f'configs/mae/{name}.py')}
    assert parts == {*(('model', part) for part in new), ('train_pipeline',), ('train_dataloader', 'dataset')}
    normalization = [config(f'configs/{method}/{name}.py').model.data_preprocessor for method in ('cmae', 'mae')]
    assert all(normalization[0][key] == normalization[1][key] for key in ('mean', 'std'))


def test_quickstart_differs_from_that_of_mae_in_the_method_alone():
    keys = changed('configs/quickstart/cmae.py', 'configs/quickstart/mae.py')
    assert {key.split('.')[0] for key in keys} == {'model', 'train_pipeline', 'train_dataloader'}
    assert not any(key.startswith(('model.backbone', 'model.neck', 'model.head', 'model.mask')) for key in keys)


@pytest.mark.parametrize(
    'name',
    [
        'configs/cmae/vit-b_800e.py',
        'configs/cmae/vit-tiny_cifar10.py',
        'configs/cmae/vit-tiny_folder.py',
        'configs/quickstart/cmae.py',
    ],
)
def test_views_are_shifted_windows_of_one_crop(name, photo):
    """The target's view is the online one, moved by up to 14% of its size, and often not by 0."""
    *_, shift, pack = config(name).train_dataloader.dataset.pipeline
    largest, size = shift.max_shift, shift.size
    assert shift.master_size == size + largest + 1
    assert largest / size == pytest.approx(31 / 224, rel=0.35) and largest / size <= 31 / 224
    shifts = set()
    for seed in range(6):
        online, second = read([LOAD, shift, pack], photo, seed)['inputs']
        shifts.add(
            next(
                (top, left)
                for top in range(largest + 1)
                for left in range(largest + 1)
                if (online[:, top:, left:] == second[:, : size - top, : size - left]).all()
            )
        )
    assert len(shifts) > 2


# ---------------------------------------------------------------- ablations: what each row changes, and nothing else

PIPELINE, DECODER = 'train_dataloader.dataset.pipeline', 'model.feature_decoder'
OWN_BLOCKS_GONE = {f'{DECODER}.{key}': GONE for key in ('embed_dim', 'depth', 'num_heads')}
SHARED = {f'{DECODER}.type': 'SharedDecoder', **OWN_BLOCKS_GONE}
NO_DECODER = {DECODER: None, f'{DECODER}.type': GONE, **OWN_BLOCKS_GONE}
NO_COLOR = {
    'model.data_preprocessor.target_view': None,
    **{f'model.data_preprocessor.target_view.{key}': GONE for key in COLORS},
}
CROPS = {PIPELINE: [LOAD, dict(type='TwoCrops', size=224), PACK]}


def shifted(pixels):
    return {PIPELINE: [LOAD, dict(type='PixelShift', size=224, master_size=225 + pixels, max_shift=pixels), PACK]}


DIFFERENCES = {
    'components-contrast': {**NO_DECODER, **CROPS},
    'components-pixel-shift': NO_DECODER,
    'views-same': {**NO_COLOR, **shifted(0)},
    'views-random-crop': {**NO_COLOR, **CROPS},
    'views-pixel-shift': NO_COLOR,
    'feature-decoder-0': NO_DECODER,
    'feature-decoder-4': {f'{DECODER}.depth': 4},
    'feature-decoder-8': {f'{DECODER}.depth': 8},
    **{f'feature-decoder-{n}-shared-first': {**SHARED, f'{DECODER}.num_blocks': n} for n in (2, 4)},
    **{f'feature-decoder-{n}-shared-same-depth': {**SHARED, 'model.neck.depth': n} for n in (2, 4)},
    **{
        f'contrast-weight-{str(weight).replace(".", "_")}': {'model.contrast_weight': weight}
        for weight in (0, 0.1, 0.5, 1.5, 2.0)
    },
    **{f'target-mask-{percent}': {'model.target_mask_ratio': percent / 100} for percent in (25, 50, 65, 75)},
    **{f'shift-{pixels}': shifted(pixels) for pixels in (0, 15, 47, 63)},
    'contrast-byol': {'model.contrast_head.kind': 'byol'},
    'momentum-cosine': {'custom_hooks': [dict(type='CosineMomentumHook', end=1.0)]},
    'loss-patch-sum': {'model.head.patch_reduction': 'sum'},
    **dict.fromkeys(
        (
            'components-feature-decoder',
            'views-pixel-shift-color',
            'feature-decoder-2',
            'contrast-weight-1_0',
            'target-mask-0',
            'shift-31',
        ),
        {},
    ),
}


def test_every_ablation_is_listed():
    assert {Path(name).stem for name in ABLATIONS} == {*DIFFERENCES, 'components-baseline'}


@pytest.mark.parametrize('row', DIFFERENCES)
def test_ablation_differs_in_what_it_names(row):
    name = f'configs/cmae/ablations/{row}.py'
    assert changed(name, DEFAULT) == DIFFERENCES[row]
    assert lines_after_docstring(name) <= 5
    assert ('The same as the default.' in docstring(name)) == (DIFFERENCES[row] == {})


def test_ablation_default_is_the_papers_recipe():
    assert changed(DEFAULT, 'configs/cmae/vit-b_300e.py') == {}


def test_ablation_baseline_is_mae():
    assert changed('configs/cmae/ablations/components-baseline.py', 'configs/mae/vit-b_300e.py') == {}


# --------------------------------------------------------------------------------------------------------- the pages


@pytest.mark.parametrize('name', [*IMAGENET, *OFFICIAL, *ABLATIONS, DEFAULT])
def test_docstring_says_hardware_result_and_where_it_stands(name):
    text = ' '.join(docstring(name).split())
    assert '8 GPUs with 80 GB' in text and 'Published' in text and 'Not reproduced by this code yet.' in text


def test_metafile_names_configs_and_claims_nothing():
    meta = yaml.safe_load((ROOT / 'configs/cmae/metafile.yml').read_text())
    assert sorted(model['Config'] for model in meta['Models']) == sorted([*IMAGENET, *OFFICIAL])
    assert (ROOT / meta['Collections'][0]['README']).is_file()
    for model in meta['Models']:
        assert model['In Collection'] == 'CMAE' and 'Weights' not in model
        assert model['Metadata']['Epochs'] == config(model['Config']).max_epochs
        assert not model['Results'] or 'not reproduced by this code' in model['Metadata']['Results Source']
        for result in model['Results'] or []:
            assert all(f'{value}%' in docstring(model['Config']) for value in result['Metrics'].values())


def test_readme_links_every_config_with_the_numbers_of_its_docstring():
    text = (ROOT / 'configs/cmae/README.md').read_text()
    links = {(ROOT / 'configs/cmae' / link).resolve() for link in re.findall(r'\]\(([^):]+\.(?:py|md))\)', text)}
    assert all(link.is_file() for link in links)
    assert {ROOT / name for name in [*OURS, DEFAULT, 'configs/quickstart/cmae.py']} <= links
    rows = re.findall(r'^\| (\(.\) .*) \| \[[^]]+\]\((ablations/.+)\) \|$', text, flags=re.M)
    assert len(rows) == 4 + 4 + 7 + 5 + 5
    for cells, link in rows:
        assert f'{cells.split(" | ")[-1]}%' in docstring(f'configs/cmae/{link}')


def test_readme_states_where_the_presets_differ():
    text = (ROOT / 'configs/cmae/README.md').read_text()
    table = text[text.index('key of `model`') : text.index('| config | epochs')]
    stated = re.findall(r'`([\w.]+)`', '\n'.join(row.split(' | ')[-1] for row in table.splitlines()[1:]))
    keys = [key.removeprefix('model.') for key in changed(*next(iter(OFFICIAL.items())))]
    matches = {key: [name for name in stated if f'{key}.'.startswith(f'{name}.')] for key in keys}
    assert all(matches.values()) and set(stated) == set(sum(matches.values(), []))
