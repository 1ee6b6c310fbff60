"""Landmarks are learned, resume, run in several processes, are tested and drawn, through the tools that people use."""

import json
import signal

import numpy as np
import pytest
import torch
from harness import (
    DATA,
    ROOT,
    largest_difference,
    load_weights,
    near,
    python,
    read_curve,
    run_tool,
    save_config,
    train,
)
from landmark_harness import TEST, TRAIN, make_faces, make_landmark_config

pytest.importorskip('mmseg')

from mmmim.config.prepare import set_up_scope, settle  # noqa: E402
from mmmim.datasets import WFLW, FaceCrop, LoadImage  # noqa: E402
from mmmim.datasets.landmark_transforms import apply_matrix  # noqa: E402
from mmmim.engine.launch import build_runner  # noqa: E402
from mmmim.evaluation.landmarks import normalized_error  # noqa: E402
from mmmim.registry import MODELS  # noqa: E402
from mmmim.visualization.overlay import color_of  # noqa: E402
from mmmim.visualization.panel import Panel  # noqa: E402
from mmmim.visualization.training_samples import training_panel  # noqa: E402

pytestmark = pytest.mark.runs

SAVE_OFTEN = {'default_hooks.checkpoint.interval_iters': 2, 'custom_hooks': [dict(type='mmmim.DieHook')]}
MIRROR = dict(type='mmmim.MirrorFace', prob=0.5)


@pytest.fixture(scope='module')
def faces(tmp_path_factory):
    """16 faces to train on, and 5 to test: an odd number, which two processes cannot share evenly."""
    folder = tmp_path_factory.mktemp('faces')
    make_faces.make_faces(folder, train=16, test=5, size=64)
    return folder


@pytest.fixture(scope='module')
def many_faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp('many_faces')
    make_faces.make_faces(folder, train=160, test=40, size=64)
    return folder


def mean_face_error(faces):
    """The error, in percent, of the mean of all training faces in their crops: what needs no image."""

    def read(name):
        return list(WFLW(str(faces), name, pipeline=[LoadImage(), FaceCrop(32)]))

    mean = np.mean([face['crop_points'] for face in read(TRAIN)], axis=0)
    return 100 * np.mean(
        [
            normalized_error(apply_matrix(np.linalg.inv(face['matrix']), mean), face['keypoints'], (60, 72))
            for face in read(TEST)
        ]
    )


@pytest.fixture(scope='module')
def trained(tmp_path_factory, many_faces):
    """(config, work dir) of training through tools/train.py."""
    folder = tmp_path_factory.mktemp('trained')
    cfg = make_landmark_config(
        folder / 'run',
        many_faces,
        epochs=10,
        **{
            'train_cfg.val_interval': 10,
            'model.head.dropout_ratio': 0.0,
            'model.data_preprocessor.colors': None,
            'optim_wrapper.paramwise_cfg.custom_keys': {'backbone.': dict(lr_mult=0.3)},
        },
    )
    cfg.train_dataloader.dataset.pipeline[2].prob = 0.0  # 200 steps are few to guess what is hidden
    config = save_config(cfg, folder / 'config.py')
    train(config)
    return config, folder / 'run'


def errors(work_dir):
    return [line for line in read_curve(work_dir) if 'landmarks/NME' in line]


def test_it_learns_what_the_mean_face_does_not_know(trained, many_faces):
    found = errors(trained[1])[-1]
    assert found['landmarks/NME'] < 0.8 * mean_face_error(many_faces)
    assert {name for name in found if name.startswith('landmarks/NME_')} == {
        f'landmarks/NME_{name}' for name in ('pose', 'expression', 'illumination', 'make-up', 'occlusion', 'blur')
    }


def test_tools_test_repeats_the_last_validation(trained, tmp_path):
    config, work_dir = trained
    out = tmp_path / 'result.json'
    run_tool('test.py', config, work_dir / 'epoch_10.pth', '--out', out)
    result = json.loads(out.read_text())
    last = errors(work_dir)[-1]
    names = [name for name in last if name.startswith('landmarks/')]
    assert len(names) == 9 and [result[name] for name in names] == near([last[name] for name in names])


def test_predict_draws_the_faces_of_the_data_set(trained, many_faces, tmp_path):
    config, work_dir = trained
    images = sorted((many_faces / 'WFLW_images/test').iterdir())[:2]
    command = [
        ROOT / 'tools/visualize/predict.py',
        config,
        work_dir / 'epoch_10.pth',
        *images,
        '--out',
        tmp_path / 'a.png',
    ]
    python(*command, check=True, toolbox='mmseg')
    panel = Panel.load(str(tmp_path / 'a.png'))
    assert [name.split()[-2:] for name in panel.row_names] == [['1', 'face']] * 2
    assert all((drawn != image).any() for image, drawn in panel.tiles)


def test_the_crops_of_training_are_shown_with_their_points(tmp_path, faces):
    panel = training_panel(make_landmark_config(tmp_path / 'run', faces), images=2, epochs=1)
    assert panel.columns == ['epoch 1: crop and points']
    points = np.array(color_of(0))
    assert all((tile == points).all(axis=-1).sum() > 98 for (tile,) in panel.tiles)


def test_killed_and_resumed_is_bit_identical(tmp_path, faces):
    """With all that is random, and with the average of the weights."""
    cfg = make_landmark_config(tmp_path / 'whole', faces, batch=4, ema_decay=0.9, **SAVE_OFTEN)
    cfg.train_dataloader.dataset.pipeline[2:2] = [MIRROR]
    config = save_config(cfg, tmp_path / 'config.py')
    train(config)
    args = ['--work-dir', str(tmp_path / 'cut'), '--resume']
    for at in ('3', '9'):
        done = train(config, *args, check=False, TEST_KILL_AT=at)
        assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    train(config, *args)
    whole, cut = (torch.load(tmp_path / name / 'epoch_3.pth', weights_only=True) for name in ('whole', 'cut'))
    assert largest_difference(whole['state_dict'], cut['state_dict']) == 0
    assert largest_difference(whole['ema_state_dict'], cut['ema_state_dict']) == 0
    assert read_curve(tmp_path / 'whole') == read_curve(tmp_path / 'cut')
    plain = {name.removeprefix('module.'): value for name, value in whole['ema_state_dict'].items()}
    assert largest_difference({key: plain[key] for key in whole['state_dict']}, whole['state_dict']) > 0


def test_two_processes_equal_one(tmp_path, faces):
    """Also the statistics of the batch norm, and the errors: of five faces, each counts once."""
    for processes in (1, 2):
        cfg = make_landmark_config(
            tmp_path / f'run{processes}',
            faces,
            epochs=2,
            **{'model.head.dropout_ratio': 0.0, 'val_dataloader.batch_size': 2},
        )
        cfg.train_dataloader.dataset.pipeline[2:2] = [MIRROR]
        train(save_config(cfg, tmp_path / f'config{processes}.py'), processes=processes, TEST_DTYPE='float64')
    weights, curves = zip(*((load_weights(tmp_path / name), read_curve(tmp_path / name)) for name in ('run1', 'run2')))
    assert largest_difference(*weights) < 1e-9
    ours, theirs = ([line['loss'] for line in curve if 'loss' in line] for curve in curves)
    assert len(ours) == 4 and ours == near(theirs, 1e-9)
    ours, theirs = (errors(tmp_path / name) for name in ('run1', 'run2'))
    assert len(ours) == 2
    for one, two in zip(ours, theirs):
        assert one.keys() == two.keys() and list(one.values()) == near(list(two.values()), 1e-6)


def test_a_checkpoint_of_pretraining_starts_it_by_one_line(tmp_path, faces):
    def build(**options):
        cfg = make_landmark_config(tmp_path / 'run', faces, **options)
        set_up_scope(cfg)
        settle(cfg)
        model = MODELS.build(cfg.model)
        model.init_weights()
        return model.backbone.state_dict()

    encoder = {f'backbone.{name}': value + 0.01 for name, value in build().items()}
    torch.save(dict(state_dict=encoder), tmp_path / 'encoder.pth')
    found = build(pretrained=str(tmp_path / 'encoder.pth'))
    assert all(torch.equal(value, encoder[f'backbone.{name}']) for name, value in found.items())


@pytest.mark.parametrize(
    'options, words',
    [
        ({'pretrained': 'nowhere.pth'}, ['nowhere.pth']),
        ({'image_size': '32px'}, ["image_size='32px'"]),
        ({'ema_decay': 2}, ['ema_decay=2']),
        ({'model.head.num_classes': 68}, ['68 points', 'model.head.num_classes']),
        ({'train_dataloader.dataset.ann_file': 'nothing.txt'}, ['nothing.txt', 'dataset.ann_file']),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else '',
)
def test_bad_input_is_told_in_a_line(options, words, tmp_path, faces):
    config = save_config(make_landmark_config(tmp_path / 'run', faces, **options), tmp_path / 'config.py')
    done = train(config, check=False)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.slow
def test_four_real_faces_are_learned_by_heart(tmp_path):
    folder = DATA / 'wflw_sample'
    if not folder.is_dir():
        pytest.skip(f'no faces at {folder}; set MMMIM_DATA')
    cfg = make_landmark_config(
        tmp_path / 'run',
        folder,
        epochs=400,
        batch=4,
        **{
            'image_size': 96,
            'model.heatmap_size': 48,
            'model.backbone.arch': dict(embed_dim=96, depth=4, num_heads=3),
            'model.head.dropout_ratio': 0.0,
            'model.data_preprocessor.colors': None,
            'train_cfg.val_interval': 400,
            'default_hooks.checkpoint.interval': 400,
        },
    )
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.update(ann_file='list_98pt_rect.txt', data_prefix=dict(img_path='images'))
    cfg.train_dataloader.dataset.pipeline = cfg.val_dataloader.dataset.pipeline
    runner = build_runner(cfg)
    before = runner.val()['landmarks/NME']
    runner.train()
    found = errors(tmp_path / 'run')[-1]
    print(f'NME {before:.1f}% -> {found["landmarks/NME"]:.2f}%')
    assert before > 40 and found['landmarks/NME'] < 1 and found['landmarks/FR_10'] == 0
