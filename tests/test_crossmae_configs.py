"""CrossMAE's configs: the paper's recipe, and what each ablation changes."""

import re
from pathlib import Path

import pytest
import yaml
from config_harness import CONFIGS, GONE, ROOT, changed, config, docstring, lines_after_docstring, resolved

from mmmim.registry import MODELS

OURS = [name for name in CONFIGS if name.startswith('configs/crossmae/')]
ABLATIONS = [name for name in OURS if name.startswith('configs/crossmae/ablations/')]
DEFAULT = 'configs/crossmae/ablations/_default.py'
CLIP = dict(type='CLIPTarget', model='vit_base_patch16_clip_quickgelu_224.openai', weights=None)
TARGETS = {
    '': CLIP,
    '_ema': dict(type='MomentumTarget', ema_momentum=0.996),
    '_pixel': dict(type='PixelTarget', norm_pix=True),
}
ENCODERS = {
    'vit-s': dict(type='MaskedViT', arch='small', img_size=224, patch_size=16),
    'vit-b': dict(type='MaskedViT', arch='base', img_size=224, patch_size=16),
    'swin-b': dict(type='MaskedSwin', arch='base', img_size=224, patch_size=4, window_size=7),
}
IMAGENET = {
    f'configs/crossmae/{encoder}{target}_{epochs}e.py': (encoder, target, epochs)
    for encoder, epochs in (('vit-s', 300), ('vit-b', 300), ('swin-b', 100))
    for target in TARGETS
}
RISING = [dict(type='CosineMomentumHook', end=1.0)]


@pytest.mark.parametrize('name', IMAGENET)
def test_the_papers_recipe(name):
    encoder, target, epochs = IMAGENET[name]
    cfg, swin = resolved(name), encoder == 'swin-b'
    assert cfg.model.to_dict() == dict(
        type='CrossMAE',
        mask_ratio=0.75,
        masking='random',
        backbone=ENCODERS[encoder],
        data_preprocessor=dict(type='MIMDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
        drawing_head=dict(
            type='DrawingHead',
            embed_dim=256,
            depth=2,
            num_heads=8,
            noise='mapped',
            noise_tokens='z_then_w',
            **(dict(patch_size=16) if swin else {}),
        ),
        draw_target=dict(type='BlurredPixelTarget', sigma=10.0),
        keep_visible=True,
        end_to_end=True,
        predictor=dict(type='LinearPredictor'),
        target=TARGETS[target],
        pred_loss='cosine',
        pred_on='all',
        pred_weight=0.1,
        **(dict(swin_match='predictor_linear') if swin else {}),
    )
    assert (cfg.max_epochs, cfg.warmup_epochs, cfg.total_batch_size) == (epochs, 20, 512)
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == 'AdamW' and tuple(optimizer.betas) == (0.9, 0.95) and optimizer.weight_decay == 0.05
    assert optimizer.lr == pytest.approx(1.5e-4 * 2) and cfg.train_dataloader.batch_size == 64
    assert cfg.get('custom_hooks', []) == (RISING if target == '_ema' else [])


@pytest.mark.parametrize('name', ['configs/crossmae/vit-b_300e.py', 'configs/crossmae/ablations/target-vgg_100e.py'])
def test_missing_weights_are_named_before_training(name, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr('huggingface_hub.try_to_load_from_cache', lambda *_: None)
    with pytest.raises(FileNotFoundError, match=r'model\.target\.weights'):
        MODELS.build(config(name).model)


def test_small_configs_have_the_encoder_and_the_schedule_of_mae():
    for data in ('cifar10', 'folder'):
        for target in ('ema', 'hog', 'pixel'):
            keys = changed(f'configs/crossmae/vit-tiny_{target}_{data}.py', f'configs/mae/vit-tiny_{data}.py')
            assert {key.split('.')[0] for key in keys} <= {'model', 'custom_hooks'}
            assert not any(key.startswith(('model.backbone', 'model.mask', 'model.data')) for key in keys)
    keys = changed('configs/quickstart/crossmae.py', 'configs/quickstart/mae.py')
    assert {key.split('.')[0] for key in keys} == {'model'}
    assert not any(key.startswith(('model.backbone', 'model.mask', 'model.data')) for key in keys)


# ---------------------------------------------------------------- ablations: what each row changes, and nothing else

NOISE, TARGET, SIGMA, EPOCHS = 'model.drawing_head.noise', 'model.target', 'model.draw_target.sigma', 'max_epochs'
WITHOUT_CLIP = {f'{TARGET}.model': GONE, f'{TARGET}.weights': GONE}
PIXELS = {f'{TARGET}.type': 'PixelTarget', **WITHOUT_CLIP}
UNET = {f'model.drawing_head.{key}': GONE for key in ('embed_dim', 'depth', 'num_heads', 'noise', 'noise_tokens')}
DIFFERENCES = {
    'components-draw-original': {NOISE: 'none', SIGMA: None, **PIXELS},
    'components-draw-coarse': {NOISE: 'none', **PIXELS},
    'components-noise-concat': {NOISE: 'concat', 'model.drawing_head.concat': 'channel', **PIXELS},
    'components-noise-mapped': PIXELS,
    'components-no-predictor': {'model.predictor': None, 'model.predictor.type': GONE},
    'target-pixel_100e': {EPOCHS: 100, **PIXELS},
    'target-vgg_100e': {EPOCHS: 100, **WITHOUT_CLIP, f'{TARGET}.type': 'VGGTarget', f'{TARGET}.layer': 'relu3_3'},
    'target-canny_100e': {EPOCHS: 100, **WITHOUT_CLIP, f'{TARGET}.type': 'CannyTarget'},
    'target-hog_100e': {EPOCHS: 100, **WITHOUT_CLIP, f'{TARGET}.type': 'HOGTarget'},
    'target-ema_100e': {
        EPOCHS: 100,
        **WITHOUT_CLIP,
        f'{TARGET}.type': 'MomentumTarget',
        f'{TARGET}.ema_momentum': 0.996,
        'custom_hooks': RISING,
    },
    'target-clip_100e': {EPOCHS: 100},
    'target-clip-hog_100e': {
        EPOCHS: 100,
        **WITHOUT_CLIP,
        f'{TARGET}.type': 'CombinedTarget',
        'model.predictor.type': GONE,
        f'{TARGET}.targets': [dict(type='CLIPTarget'), dict(type='HOGTarget')],
        'model.predictor': [dict(type='LinearPredictor')] * 2,
    },
    'noise-without_vit-s': {'model.backbone.arch': 'small', NOISE: 'none'},
    'noise-with_vit-s': {'model.backbone.arch': 'small'},
    **{f'drawing-blocks-{n}': {'model.drawing_head.depth': n} for n in (4, 6, 8)},
    'drawing-unet': {**UNET, 'model.drawing_head.type': 'UNetDrawingHead'},
    'predictor-mlp': {'model.predictor.type': 'MLPPredictor'},
    'predictor-decoder': {
        'model.predictor.type': 'MAEDecoder',
        'model.predictor.embed_dim': 512,
        'model.predictor.depth': 8,
        'model.predictor.num_heads': 16,
    },
    **{f'sigma-{sigma}': {SIGMA: float(sigma)} for sigma in (1, 5, 20)},
    'sigma-none': {SIGMA: None},
    **{f'weight-{name}': {'model.pred_weight': value} for name, value in (('0_4', 0.4), ('1_0', 1.0), ('10', 10.0))},
    'reading-draw-all': {'model.keep_visible': False},
    'reading-detached': {'model.end_to_end': False},
    'reading-w-all': {'model.drawing_head.noise_tokens': 'w_all'},
    'reading-pred-masked': {'model.pred_on': 'masked'},
    'reading-normalized-mse': {'model.pred_loss': 'normalized_mse'},
    **dict.fromkeys(('components-predictor', 'drawing-blocks-2', 'predictor-linear', 'sigma-10', 'weight-0_1'), {}),
}
# of other configs than the default
SWIN, MAE = 'configs/crossmae/swin-b_100e.py', 'configs/mae/vit-b_300e.py'
OTHERS = {
    'noise-without_swin-b': (SWIN, {NOISE: 'none'}),
    'noise-with_swin-b': (SWIN, {}),
    'reading-swin-pool': (SWIN, {'model.swin_match': 'target_pool'}),
    'components-baseline': (MAE, {'warmup_epochs': 20, 'total_batch_size': 512, 'max_batch_per_device': 256}),
    'time-mae_410e': (MAE, {EPOCHS: 410}),
    'time-mae_530e': (MAE, {EPOCHS: 530}),
}


def test_every_ablation_is_listed():
    assert {Path(name).stem for name in ABLATIONS} == {*DIFFERENCES, *OTHERS}


@pytest.mark.parametrize('row', [*DIFFERENCES, *OTHERS])
def test_ablation_differs_in_what_it_names(row):
    name = f'configs/crossmae/ablations/{row}.py'
    default, differences = OTHERS[row] if row in OTHERS else (DEFAULT, DIFFERENCES[row])
    assert changed(name, default) == differences
    assert lines_after_docstring(name) <= 5
    assert ('The same as the default.' in docstring(name)) == (row in DIFFERENCES and not differences)


def test_ablation_default_is_the_papers_recipe():
    assert changed(DEFAULT, 'configs/crossmae/vit-b_300e.py') == {}


# --------------------------------------------------------------------------------------------------------- the pages


@pytest.mark.parametrize('name', [*IMAGENET, *ABLATIONS, DEFAULT])
def test_docstring_says_hardware_result_and_where_it_stands(name):
    text = ' '.join(docstring(name).split())
    assert '8 GPUs with 80 GB' in text and 'Published' in text and 'Not reproduced by this code yet.' in text


def test_metafile_names_configs_and_claims_nothing():
    meta = yaml.safe_load((ROOT / 'configs/crossmae/metafile.yml').read_text())
    assert sorted(model['Config'] for model in meta['Models']) == sorted(IMAGENET)
    assert (ROOT / meta['Collections'][0]['README']).is_file()
    for model in meta['Models']:
        assert model['In Collection'] == 'CrossMAE' and 'Weights' not in model
        assert model['Metadata']['Epochs'] == config(model['Config']).max_epochs
        assert not model['Results'] or 'not reproduced by this code' in model['Metadata']['Results Source']
        for result in model['Results'] or []:
            assert all(f'{value}%' in docstring(model['Config']) for value in result['Metrics'].values())


def test_readme_links_every_config_with_the_numbers_of_its_docstring():
    text = (ROOT / 'configs/crossmae/README.md').read_text()
    links = {(ROOT / 'configs/crossmae' / link).resolve() for link in re.findall(r'\]\(([^):]+\.(?:py|md))\)', text)}
    assert all(link.is_file() for link in links)
    assert {ROOT / name for name in [*OURS, DEFAULT, 'configs/quickstart/crossmae.py']} <= links
    rows = re.findall(r'^\| (.*) \| \[[^]]+\]\(((?:ablations/|vit-|swin-).+\.py)\) \|$', text, flags=re.M)
    assert len(rows) == 7 + 7 + 2 + 2 + 4 + 5 + 3 + 4 + 4 + 1
    for cells, link in rows:
        numbers = re.findall(r'\d\d\.\d', cells)
        assert all(number in docstring(f'configs/crossmae/{link}') for number in numbers)
        assert numbers or re.search('n/a|diverge|NaN', cells)
