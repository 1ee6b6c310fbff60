"""The commands that make pictures: from any checkpoint, for any images, and never running what is in a file."""

import runpy
import sys

import numpy as np
import pytest
import torch
from harness import ROOT, make_config, save_config, train_here

from mmmim.checkpoint.encoder import from_mmmim
from mmmim.registry import MODELS
from mmmim.visualization.panel import Panel
from mmmim.visualization.reconstruction import FROM_ORIGINAL, FROM_VISIBLE

pytestmark = pytest.mark.runs

# an encoder and a decoder whose sizes tell their heads, as those of published checkpoints do
KNOWN = dict(
    type='MAE',
    backbone=dict(type='MaskedViT', arch='tiny', img_size=32, patch_size=8),
    neck=dict(type='MAEDecoder', embed_dim=512, depth=1, num_heads=16),
    target=dict(type='PixelTarget'),
    head=dict(type='ReconstructionHead'),
)


def _main(monkeypatch, tool, *args):
    """Run a tool in this process; returns what it exits with, None for success."""
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
    try:
        runpy.run_path(str(ROOT / f'tools/visualize/{tool}.py'), run_name='__main__')
    except SystemExit as end:
        return end.code
    return None


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a tool; returns the panel that it wrote."""

    def call(tool, *args):
        out = tmp_path / f'{len(list(tmp_path.iterdir()))}.png'
        message = _main(monkeypatch, tool, *args, '--out', out)
        assert message is None, message
        return Panel.load(out)

    return call


@pytest.fixture(scope='module')
def trained(tmp_path_factory, image_root):
    """A run of one epoch with a test pipeline of its own."""
    from mmengine.registry import DefaultScope

    DefaultScope.get_instance('visualize-cli', scope_name='mmmim')
    folder = tmp_path_factory.mktemp('visualize')
    pipeline = [dict(type='LoadImage'), dict(type='Resize', size=16), dict(type='PackImage')]
    cfg = make_config(
        folder / 'run',
        image_root,
        epochs=2,
        **{'custom_imports.imports': ['mmmim'], 'train_cfg.max_iters': 4, 'experiment_name': str(folder)},
    )
    cfg.merge_from_dict(
        dict(
            test_pipeline=pipeline,
            test_dataloader=dict(
                batch_size=4,
                dataset=dict(type='ImageFolder', data_root=str(image_root), pipeline=pipeline),
                sampler=dict(type='EpochSampler', shuffle=False),
            ),
            test_cfg=dict(),
            test_evaluator=dict(type='ReconstructionMetric'),
        )
    )
    save_config(cfg, folder / 'config.py')
    train_here(cfg)
    return folder / 'run/iter_4.pth'


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    """One model under the names of three codes, without any config."""
    torch.manual_seed(0)
    state = MODELS.build(KNOWN).state_dict()
    folder = tmp_path_factory.mktemp('published')
    files = {}
    for scheme in ('mmmim', 'mae', 'hf', 'timm'):
        named = from_mmmim(state, scheme)
        torch.save(dict(model=named) if scheme == 'mae' else named, folder / f'{scheme}.pth')
        files[scheme] = folder / f'{scheme}.pth'
    return files


def _same(a, b, column):
    return all(np.array_equal(r[column], s[column]) for r, s in zip(a.tiles, b.tiles, strict=True))


@pytest.mark.parametrize(
    'method, columns',
    [
        ('cmae', ['original', 'masked', FROM_ORIGINAL]),
        ('gan_mae', ['original', 'masked', 'reconstruction']),
        ('vision_electra', ['original', 'masked', 'reconstruction']),
        ('crossmae', ['original', 'blurred target', 'masked']),
    ],
)
def test_reconstruct_from_any_method(method, columns, run, tmp_path, image_root):
    """Also where the generator is another part than MAE's decoder; without that part it is refused."""
    folder = tmp_path / 'train'
    train_here(
        make_config(
            folder,
            image_root,
            method,
            epochs=2,
            **{'custom_imports.imports': ['mmmim'], 'train_cfg.max_iters': 2, 'experiment_name': str(tmp_path)},
        )
    )
    panel = run('reconstruct', folder / 'iter_2.pth', image_root / 'class0', '--limit', 2)
    assert panel.columns[:3] == columns and len(panel.tiles) == 2


def test_reconstruct_from_a_run(run, trained, image_root):
    panel = run('reconstruct', trained, image_root / 'class0', '--limit', 3)
    assert panel.columns == ['original', 'masked', FROM_ORIGINAL] and len(panel.tiles) == 3
    assert panel.notes['mask_ratio'] == 0.75 and panel.notes['config'] == 'the config inside the checkpoint'
    assert panel.tiles[0][0].shape == (16, 16, 3)
    assert panel.notes['checkpoint'] == str(trained)
    again = run('reconstruct', trained, image_root / 'class0', '--limit', 3)
    by_hand = run(
        'reconstruct', trained, image_root / 'class0', '--limit', 3, '--config', trained.parent.parent / 'config.py'
    )
    assert all(_same(panel, other, column) for other in (again, by_hand) for column in range(3))


def test_options_of_reconstruct(run, trained, image_root):
    images = image_root / 'class0', '--limit', 2
    panel = run('reconstruct', trained, *images)
    other_seed = run('reconstruct', trained, *images, '--seed', 1)
    assert _same(panel, other_seed, 0) and not _same(panel, other_seed, 1)
    fewer = run('reconstruct', trained, *images, '--mask-ratio', 0.5, '--masking', 'grid', '--visible-statistics')
    assert fewer.notes['mask_ratio'] == 0.5 and fewer.columns[3] == FROM_VISIBLE
    assert '50%' in fewer.notes['caption'] and 'grid' in fewer.notes['caption']
    raw = run('reconstruct', trained, *images, '--raw-pixels')
    assert raw.columns[2] == 'reconstruction' and not _same(raw, panel, 2)


def test_reconstruct_from_other_names_without_a_config(run, published, image_root):
    panels = [run('reconstruct', published[scheme], image_root, '--limit', 2) for scheme in ('mmmim', 'mae', 'hf')]
    assert panels[0].columns[2] == FROM_ORIGINAL and panels[0].tiles[0][0].shape == (32, 32, 3)
    assert 'shapes' in panels[0].notes['config']
    assert all(_same(panels[0], other, column) for other in panels[1:] for column in range(3))


def test_one_picture_of_several_checkpoints(run, trained, published, image_root, tmp_path, monkeypatch):
    second = torch.load(trained, weights_only=True)
    second['state_dict']['neck.decoder_pred.bias'] += 1
    torch.save(second, tmp_path / 'second.pth')
    images = image_root / 'class0', '--limit', 2
    panel = run('reconstruct', trained, tmp_path / 'second.pth', *images)
    alone = run('reconstruct', trained, *images)
    assert len(panel.tiles) == 4 and panel.notes['checkpoints'] == [str(trained), str(tmp_path / 'second.pth')]
    assert f'{trained.parent.name}/{trained.name}' in panel.row_names[0] and 'second.pth' in panel.row_names[1]
    for i, row in enumerate(alone.tiles):
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(panel.tiles[2 * i], row))
        assert np.array_equal(panel.tiles[2 * i + 1][1], row[1]) and not np.array_equal(
            panel.tiles[2 * i + 1][2], row[2]
        )
    out = tmp_path / 'out.png'
    message = _main(monkeypatch, 'reconstruct', trained, published['mae'], *images, '--out', out)
    assert 'images of 32x32 pixels' in message and 'images of 16x16 pixels' in message and not out.exists()
    message = _main(monkeypatch, 'reconstruct', trained, tmp_path / 'second.pth', '--out', out)
    assert 'no images' in message and not out.exists()
    message = _main(monkeypatch, 'reconstruct', trained, image_root, tmp_path / 'second.pth', '--out', out)
    assert 'second.pth stands behind the images' in message and not out.exists()
    two = trained, tmp_path / 'second.pth', image_root
    message = _main(monkeypatch, 'reconstruct', *two, '--prefix', 'backbone.', '--out', out)
    assert '--prefix are for one checkpoint' in message and not out.exists()


def test_features_from_a_run_and_its_exported_encoder(run, trained, image_root):
    panels = [
        run('features', path, image_root, '--limit', 4) for path in (trained, trained.parent / 'encoder.safetensors')
    ]
    assert panels[0].columns == [
        'original',
        'principal components of patch features',
        'attention of the class token (mean of 2 heads)',
    ]
    # the exported file does not say how images were cropped: the features differ with them, the columns do not
    assert panels[1].columns == panels[0].columns and len(panels[0].tiles) == 4
    config = trained.parent.parent / 'config.py'
    exported = run('features', trained.parent / 'encoder.safetensors', image_root, '--limit', 4, '--config', config)
    assert all(_same(panels[0], exported, column) for column in range(3))


def test_options_of_features(run, trained, image_root):
    panel = run('features', trained, image_root, '--limit', 2, '--block', 0, '--heads', '--each', '--img-size', 32)
    assert panel.columns[3:] == ['head 0', 'head 1'] and panel.tiles[0][0].shape == (32, 32, 3)
    assert 'each image' in panel.notes['caption']


def test_features_of_other_names_without_a_config(run, published, image_root):
    panels = [run('features', published[scheme], image_root, '--limit', 2) for scheme in ('mae', 'timm', 'hf')]
    assert all(_same(panels[0], other, column) for other in panels[1:] for column in range(3))


def test_broken_images_are_named_and_skipped(run, trained, image_root, tmp_path, capsys):
    (tmp_path / 'bad.jpg').write_bytes(b'no picture')
    panel = run(
        'reconstruct', trained, tmp_path / 'bad.jpg', image_root / 'class1/000.jpg', f'{image_root}/class0/00[01].*'
    )
    assert [name.split()[0] for name in panel.row_names] == ['class1/000.jpg', 'class0/000.jpg', 'class0/001.jpg']
    assert str(tmp_path / 'bad.jpg') in capsys.readouterr().err


@pytest.mark.parametrize('tool', ['reconstruct', 'features'])
def test_what_a_user_can_mend_is_told_in_a_line(tool, trained, published, image_root, tmp_path, monkeypatch):
    bad, state = tmp_path / 'bad.jpg', tmp_path / 'state.pth'
    bad.write_bytes(b'no picture')
    torch.save(
        {
            'backbone.patch_embed.proj.weight': torch.zeros(30, 3, 4, 4),
            'backbone.pos_embed': torch.zeros(1, 5, 30),
            'backbone.blocks.0.attn.qkv.weight': torch.zeros(90, 30),
            'backbone.blocks.0.mlp.fc1.weight': torch.zeros(60, 30),
        },
        state,
    )
    encoder = trained.parent / 'encoder.safetensors'
    cases = [
        ([trained, tmp_path / 'nothing.jpg'], ['nothing.jpg']),
        ([trained, bad], ['none of the 1', 'bad.jpg']),
        ([trained, image_root, '--limit', 0], ['at least 1']),
        ([tmp_path / 'no.pth', image_root], ['no.pth']),
        ([bad, image_root], ['bad.jpg', 'not a readable checkpoint']),
        ([state, image_root], ['1 blocks of width 30', '--config']),
        ([trained, image_root, '--config', tmp_path / 'no.py'], ['no.py']),
    ]
    if tool == 'reconstruct':
        cases += [([path, image_root], [path.name, 'no decoder']) for path in (encoder, published['timm'])]
        (tmp_path / 'encoder.py').write_text("model = dict(type='MAE', backbone=dict(type='MaskedViT'))")
        cases += [
            ([trained, image_root, '--mask-ratio', 1], ['mask_ratio=1']),
            ([trained, image_root, '--config', tmp_path / 'encoder.py'], ['encoder.py has no decoder']),
        ]
    else:
        cases += [([trained, image_root, '--block', 5], ['block=5', '2 blocks'])]
    for args, words in cases:
        message = _main(monkeypatch, tool, *args, '--out', tmp_path / 'out.png')
        assert isinstance(message, str) and all(word in message for word in words), (args, message)
        assert not (tmp_path / 'out.png').exists()


def test_a_decoder_of_another_run_is_told(trained, published, image_root, tmp_path, monkeypatch):
    checkpoint = torch.load(trained, weights_only=True)
    checkpoint['state_dict']['neck.decoder_pred.weight'] = torch.zeros(7, 16)
    torch.save(checkpoint, tmp_path / 'other.pth')
    message = _main(monkeypatch, 'reconstruct', tmp_path / 'other.pth', image_root, '--out', tmp_path / 'out.png')
    assert 'decoder_pred.weight [48, 16] against [7, 16]' in message and '--config' in message


HOSTILE = {
    'statement': "import os\nos.system('touch {mark}')\n",
    'call': "model = __import__('os').system('touch {mark}')\n",
    'type': "model = dict(type='MAE', backbone=dict(type='os.system', command='touch {mark}'), neck=dict())\n",
    'scope': "model = dict(type='MAE', backbone=dict(type='MaskedViT', _scope_='antigravity'), neck=dict())\n",
}


@pytest.mark.parametrize('tool', ['reconstruct', 'features'])
@pytest.mark.parametrize('kind', HOSTILE)
def test_a_config_inside_a_checkpoint_does_not_run(kind, tool, trained, image_root, tmp_path, monkeypatch):
    mark, path = tmp_path / 'executed', tmp_path / 'hostile.pth'
    checkpoint = torch.load(trained, weights_only=True)
    checkpoint['meta']['cfg'] = HOSTILE[kind].format(mark=mark)
    torch.save(checkpoint, path)
    message = _main(monkeypatch, tool, path, image_root, '--out', tmp_path / 'out.png')
    assert 'hostile.pth' in message and '--config' in message
    assert not mark.exists() and 'antigravity' not in sys.modules
    # with the user's own config the weights are still of use
    config = trained.parent.parent / 'config.py'
    assert _main(monkeypatch, tool, path, image_root, '--config', config, '--out', tmp_path / 'out.png') is None
    assert not mark.exists()


@pytest.mark.parametrize('kind', ['pipeline', 'encoder'])
def test_no_type_of_a_file_is_called(kind, run, trained, image_root, tmp_path, monkeypatch):
    mark = tmp_path / 'executed'
    hostile = dict(type='os.system', command=f'touch {mark}')
    checkpoint = torch.load(trained, weights_only=True)
    if kind == 'pipeline':  # which a centre crop then stands in for
        from mmengine.config import Config

        cfg = Config.fromfile(str(trained.parent.parent / 'config.py'))
        cfg.test_dataloader.dataset.pipeline = [hostile, dict(type='PackImage', size=16)]
        checkpoint['meta']['cfg'] = cfg.pretty_text
        torch.save(checkpoint, tmp_path / 'pipeline.pth')
        assert len(run('features', tmp_path / 'pipeline.pth', image_root, '--limit', 2).tiles) == 2
    else:
        checkpoint['meta']['config'] = dict(backbone=hostile)
        torch.save(checkpoint, tmp_path / 'encoder.pth')
        message = _main(monkeypatch, 'features', tmp_path / 'encoder.pth', image_root, '--out', tmp_path / 'out.png')
        assert 'os.system' in message
    assert not mark.exists()
