"""Several processes compute what one does."""

import json

import pytest
from harness import (
    METHODS,
    largest_difference,
    load_weights,
    make_config,
    near,
    read_curve,
    save_config,
    train,
)

pytestmark = pytest.mark.runs

ONE_PASS = 'cosine_of_mean'  # of the images of one pass, a metric of the log
# batch statistics do not cross accumulated batches
WHOLE_BATCH = {'toy'}
TOY = dict(
    type='TwoPhaseToy',
    backbone=dict(type='MaskedViT', arch=dict(embed_dim=32, depth=2, num_heads=2), img_size=16, patch_size=4),
    neck=dict(type='MAEDecoder', embed_dim=16, depth=1, num_heads=2),
    target=dict(type='PixelTarget', norm_pix=False),
    head=dict(type='ReconstructionHead'),
)


def _config(folder, image_root, method, limit=None, **overrides):
    options = {
        'model.backbone.drop_path_rate': 0.0,
        'max_batch_per_device': limit,
        'custom_hooks': [dict(type='DieHook')],
        'default_hooks.export_encoder': None,
        **overrides,
    }
    if method == 'cmae':
        # biases before a batch norm have a gradient of zero in theory: what they get is round-off, and AdamW divides
        # it by this
        options['optim_wrapper.optimizer.eps'] = 1e-6
    cfg = make_config(folder / 'run', image_root, 'mae' if method == 'toy' else method, epochs=5, workers=1, **options)
    if method == 'toy':
        adamw = dict(type='AdamW', fused=True)
        wrapper = dict(type='AutocastOptimWrapper', dtype='float32', optimizer=adamw)
        wrapper.update(overrides.get('wrapper', {}))
        cfg.merge_from_dict(
            dict(
                model=dict(_delete_=True, **TOY),
                optim_wrapper=dict(_delete_=True, constructor='ToyConstructor', generator=wrapper, judge=wrapper),
            )
        )
        cfg.param_scheduler = None
        cfg.base_lr = 1e-3  # AdamW turns float32 round-off into differences of the size of the rate
        cfg.pop('warmup_epochs')
        # the judge's phase leaves the decoder out
        cfg.model_wrapper_cfg.find_unused_parameters = True
    return save_config(cfg, folder / 'config.py')


@pytest.fixture(scope='module', params=[*sorted(METHODS), 'toy'])
def alone(request, tmp_path_factory, image_root):
    """Weights and losses of one process with the whole batch, in both precisions."""
    result = {}
    for dtype in ('float64', 'float32'):
        folder = tmp_path_factory.mktemp(f'alone_{request.param}_{dtype}')
        train(_config(folder, image_root, request.param), TEST_DTYPE=dtype)
        result[dtype] = load_weights(folder / 'run'), read_curve(folder / 'run')
    return request.param, result


@pytest.mark.parametrize(
    'dtype, processes, limit',
    [('float64', 2, None), ('float64', 2, 4), ('float32', 2, None)],
    ids=['two', 'two-accumulating', 'two-float32'],
)
def test_two_processes_equal_one(alone, tmp_path, image_root, dtype, processes, limit):
    method, expected = alone
    if method in WHOLE_BATCH and limit:
        pytest.skip('batch statistics do not cross accumulated batches')
    config = _config(tmp_path, image_root, method, limit)
    train(config, processes=processes, TEST_DTYPE=dtype, fresh=method == 'mae')  # by tools/dist_train.sh's launcher
    weights, curve = expected[dtype]
    assert len(curve) == 20
    for ours, theirs in zip(read_curve(tmp_path / 'run'), curve):
        for key in set(theirs) - {ONE_PASS}:
            assert ours[key] == near(theirs[key]), (key, theirs['iter'])
    if dtype == 'float64':
        assert largest_difference(weights, load_weights(tmp_path / 'run')) < 1e-9


def test_accumulation_equals_the_whole_batch(alone, tmp_path, image_root):
    method, expected = alone
    if method in WHOLE_BATCH:
        pytest.skip('batch statistics do not cross accumulated batches')
    train(_config(tmp_path, image_root, method, limit=4), TEST_DTYPE='float64')
    assert largest_difference(expected['float64'][0], load_weights(tmp_path / 'run')) < 1e-9
    found, whole = read_curve(tmp_path / 'run'), expected['float64'][1]
    assert [line['loss'] for line in found] == near([line['loss'] for line in whole], 1e-9)


@pytest.mark.parametrize('before, after', [(2, 1), pytest.param(1, 2, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_with_another_number_of_processes(alone, tmp_path, image_root, before, after):
    method, expected = alone
    config = _config(tmp_path, image_root, method)
    train(config, processes=before, check=False, TEST_DTYPE='float64', TEST_KILL_AT='10')
    curve = read_curve(tmp_path / 'run')
    assert 0 < len(curve) < 20
    train(config, '--resume', processes=after, TEST_DTYPE='float64')
    weights, whole = expected['float64']
    assert largest_difference(weights, load_weights(tmp_path / 'run')) < 1e-9
    for ours, theirs in zip(read_curve(tmp_path / 'run'), whole):
        for key in set(theirs) - {ONE_PASS}:
            assert ours[key] == near(theirs[key]), (key, theirs['iter'])
    sessions = json.loads((tmp_path / 'run/run.json').read_text())['sessions']
    assert [session['processes'] for session in sessions] == [before, after]


def test_both_phases_learn(alone):
    method, expected = alone
    if method != 'toy':
        pytest.skip('only the toy has two phases')
    curve = expected['float64'][1]
    assert {'loss_recon', 'loss_judge'} <= set(curve[0])
    assert sum(line['loss_recon'] for line in curve[-4:]) < sum(line['loss_recon'] for line in curve[:4])
    assert sum(line['loss_judge'] for line in curve[-4:]) < sum(line['loss_judge'] for line in curve[:4])


@pytest.mark.parametrize('method', [*sorted(METHODS), 'toy'])
def test_bf16_with_accumulation_in_two_processes(method, tmp_path, image_root):
    """The mixed precision wrapper, accumulation and synchronisation work together: losses stay near float32's."""
    accumulate = None if method == 'toy' else 4
    curves = []
    for dtype in ('float32', 'bfloat16'):
        overrides = {'wrapper': dict(dtype=dtype)} if method == 'toy' else {'optim_wrapper.dtype': dtype}
        if method == 'cmae':  # a contrast among few images amplifies what a large step does to a rounding error
            overrides['base_lr'] = 1e-3
        train(_config(tmp_path / dtype, image_root, method, accumulate, **overrides), processes=2)
        curves.append([line['loss'] for line in read_curve(tmp_path / dtype / 'run')])
    assert curves[0] != curves[1]
    # Eq. 7 is the negative of Eq. 6: the sum of GAN-MAE's losses, of sizes near 1, is near 0
    assert curves[1] == pytest.approx(curves[0], rel=0.05, abs=0.01 if method == 'gan_mae' else 0)


def test_sigterm_saves_once_and_resumes(tmp_path, image_root):
    """Whether the signal reaches one rank or the whole group with the loading workers, all save and stop together."""
    config = _config(tmp_path, image_root, 'mae')
    train(config, '--work-dir', str(tmp_path / 'whole'), processes=2, fresh=True)
    for name in ('one', 'group'):
        args = ['--work-dir', str(tmp_path / name), '--resume']
        done = train(
            config,
            *args,
            processes=2,
            check=False,
            fresh=True,
            TEST_KILL_AT='6',
            TEST_SIGNAL='SIGTERM',
            TEST_KILL_RANK='1',
            TEST_KILL_GROUP=str(int(name == 'group')),
        )
        assert done.returncode != 0
        pointer = (tmp_path / name / 'last_checkpoint').read_text()
        assert pointer.endswith(('iter_7.pth', 'iter_8.pth') if name == 'group' else 'iter_7.pth'), done.stderr[-2000:]
        train(config, *args, processes=2, fresh=True)
        assert largest_difference(load_weights(tmp_path / 'whole'), load_weights(tmp_path / name)) == 0
        assert read_curve(tmp_path / name) == read_curve(tmp_path / 'whole')
