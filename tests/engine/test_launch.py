"""From a config to what the runner gets."""

import pytest
import torch
from harness import METHODS, ROOT, make_config
from mmengine.config import Config

from mmmim.config.load import load_config
from mmmim.config.prepare import settle_loaders
from mmmim.config.schedule import set_batch_and_lr, set_schedule, split_batch
from mmmim.engine.launch import behind_traceback, build_runner, check_checkpointing, end_with
from mmmim.engine.optim.autocast import AutocastOptimWrapper


@pytest.mark.parametrize(
    'total, world, limit, expected',
    [
        (4096, 8, 256, [256, 2]),
        (4096, 8, 512, [512, 1]),
        (4096, 1, 100, [64, 64]),
        (256, 2, None, [128, 1]),
        (24, 2, 5, [4, 3]),
        (7, 1, 3, [1, 7]),
    ],
)
def test_total_batch_is_shared_with_the_fewest_accumulations(total, world, limit, expected):
    batch, accumulation = split_batch(total, world, limit)
    assert [batch, accumulation] == expected and batch * accumulation * world == total


def test_a_batch_that_cannot_be_shared_is_an_error():
    with pytest.raises(ValueError, match='total_batch_size=100 cannot be shared by 8 .* 1, 2, 4, 5, 10, 20, 25, 50, '):
        split_batch(100, 8)


def test_linear_rule_and_total_batch_reach_every_optimizer():
    wrapper = dict(optimizer=dict(type='AdamW'))
    cfg = Config(
        dict(
            total_batch_size=512,
            base_lr=1e-3,
            max_batch_per_device=64,
            train_dataloader=dict(sampler=dict(type='EpochSampler')),
            optim_wrapper=dict(constructor='C', one=wrapper, two=dict(wrapper, base_lr=4e-3)),
        )
    )
    set_batch_and_lr(cfg, world_size=2)
    assert cfg.train_dataloader.batch_size == 64 and cfg.train_dataloader.sampler.round_to == 512
    assert cfg.optim_wrapper.one.optimizer.lr == 2e-3 and cfg.optim_wrapper.two.optimizer.lr == 8e-3
    assert cfg.optim_wrapper.one.accumulative_counts == cfg.optim_wrapper.two.accumulative_counts == 4


def test_epochs_and_warmup_govern_the_schedule():
    cfg = load_config(str(ROOT / 'configs/mae/vit-b_800e.py'), dict(max_epochs=100, warmup_epochs=0.5))
    set_schedule(cfg)
    warmup, cosine = cfg.param_scheduler
    assert (warmup.begin, warmup.end) == (0, 0.5)
    assert (cosine.begin, cosine.end, cosine.T_max) == (0.5, 100, 99.5)
    assert cfg.train_cfg.max_epochs == 100


def test_no_warmup_leaves_the_cosine_alone():
    cfg = load_config(str(ROOT / 'configs/mae/vit-b_800e.py'), dict(warmup_epochs=0))
    set_schedule(cfg)
    assert [s.type for s in cfg.param_scheduler] == ['CosineAnnealingLR']
    assert (cfg.param_scheduler[0].begin, cfg.param_scheduler[0].T_max) == (0, 800)


def test_data_root_moves_every_path_but_those_given():
    cfg = load_config(
        str(ROOT / 'configs/mae/vit-b_800e.py'), {'data_root': '/mine', 'feature_eval.query.data_root': 'elsewhere'}
    )
    assert cfg.train_dataloader.dataset.data_root == '/mine/train'
    assert cfg.test_dataloader.dataset.data_root == '/mine/val'
    assert cfg.feature_eval.bank.data_root == '/mine/train'
    assert cfg.feature_eval.query.data_root == 'elsewhere'


@pytest.mark.parametrize('old', ['data/coco', 'data/coco/'])
@pytest.mark.parametrize('new', ['/mine', '/mine/'])
def test_data_root_with_and_without_a_slash_at_its_end(tmp_path, old, new):
    """Configs of other toolboxes write one."""
    path = tmp_path / 'config.py'
    path.write_text(f"data_root = {old!r}\nfirst = dict(root={old!r}, file='data/coco/a.json', other='data/coco2/b')")
    first = load_config(str(path), dict(data_root=new)).first
    assert first.root.rstrip('/') == '/mine' and first.file == '/mine/a.json' and first.other == 'data/coco2/b'


@pytest.mark.parametrize('gpu', [False, True])
def test_every_loader_has_workers_that_outlive_a_stop_and_pins_for_a_gpu(monkeypatch, gpu):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    cfg = Config(
        dict(
            randomness=dict(seed=3),
            test_dataloader=None,
            train_dataloader=dict(worker_init_fn=dict(type='mmmim.start_worker', seed=9)),
            val_dataloader=dict(pin_memory=False, worker_init_fn=dict(type='theirs', a=1)),
        )
    )
    settle_loaders(cfg)
    assert cfg.train_dataloader.worker_init_fn == dict(type='mmmim.start_worker', seed=3)
    assert cfg.val_dataloader.worker_init_fn == dict(type='theirs', a=1) and not cfg.val_dataloader.pin_memory
    assert cfg.train_dataloader.get('pin_memory', False) == gpu


MOCO = 'mmpretrain::mocov3/mocov3_vit-base-p16_16xb256-amp-coslr-300e_in1k.py'


def test_a_config_of_a_toolbox_is_inherited_without_its_scope_in_the_loaders(tmp_path):
    pytest.importorskip('mmpretrain')
    child = tmp_path / 'mine.py'
    child.write_text(f'_base_ = {MOCO!r}\nmax_epochs = 2\n')
    cfg = load_config(str(child))
    assert cfg.default_scope == 'mmpretrain' and '_scope_' not in cfg.pretty_text
    assert cfg.train_dataloader.collate_fn == dict(type='default_collate')
    other = tmp_path / 'other.py'
    other.write_text(f"_base_ = {MOCO!r}\ndefault_scope = 'mmmim'\n")
    cfg = load_config(str(other))
    assert cfg.train_dataloader.collate_fn == dict(type='mmpretrain.default_collate')
    assert cfg.train_dataloader.dataset._scope_ == cfg.model._scope_ == 'mmpretrain'  # where registries read it


def test_work_dirs_of_two_methods_do_not_meet():
    cfg = load_config(str(ROOT / 'configs/mae/vit-b_800e.py'))
    assert cfg.work_dir == 'work_dirs/mae/vit-b_800e'
    cfg = load_config(str(ROOT / 'configs/mae/ablations/loss-all-pixels.py'))
    assert cfg.work_dir == 'work_dirs/mae/ablations/loss-all-pixels'


def test_a_schedule_that_lost_its_warmup_can_be_set_again():
    """The config that a run without warm-up writes down has the cosine alone."""
    cfg = load_config(str(ROOT / 'configs/mae/vit-b_800e.py'), dict(max_epochs=10, warmup_epochs=0))
    set_schedule(cfg)
    once = [dict(scheduler) for scheduler in cfg.param_scheduler]
    set_schedule(cfg)
    assert [dict(scheduler) for scheduler in cfg.param_scheduler] == once and once[0]['T_max'] == 10
    cfg.warmup_epochs = 2
    with pytest.raises(ValueError, match='no warm-up before it'):
        set_schedule(cfg)


def _wrapper(dtype, **kwargs):
    layer = torch.nn.Linear(4, 4)
    return layer, AutocastOptimWrapper(dtype, optimizer=torch.optim.SGD(layer.parameters(), lr=0.1), **kwargs)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_autocast_runs_in_the_type_that_is_asked(dtype):
    layer, wrapper = _wrapper(dtype)
    with wrapper.optim_context(layer):
        assert layer(torch.ones(2, 4)).dtype == getattr(torch, dtype)
    assert wrapper.scaler is None


def test_float16_scales_its_loss_and_carries_the_scale():
    layer, wrapper = _wrapper('float16')
    before = layer.weight.detach().clone()
    with wrapper.optim_context(layer):
        loss = layer(torch.ones(2, 4)).float().mean()
    wrapper.update_params(loss)
    expected = before - 0.1 * torch.full((4, 4), 0.25)  # as without scaling
    assert torch.allclose(layer.weight, expected, atol=1e-3)
    state = wrapper.state_dict()
    assert state['loss_scaler']['scale'] > 1
    state['loss_scaler']['scale'] = 128.0
    _, other = _wrapper('float16')
    other.load_state_dict(state)
    assert other.scaler.get_scale() == 128.0


def test_unknown_dtype_is_an_error():
    with pytest.raises(ValueError, match='bf16.*auto'):
        _wrapper('bf16')


def test_clipping_bounds_the_step_and_does_not_read_the_device(monkeypatch):
    layer, wrapper = _wrapper('float32', clip_grad=dict(max_norm=0.01))
    before = torch.cat([p.detach().flatten().clone() for p in layer.parameters()])
    monkeypatch.setattr(torch.Tensor, '__float__', lambda self: pytest.fail('read'))
    wrapper.update_params(layer(torch.ones(2, 4)).sum())
    change = torch.linalg.vector_norm(torch.cat([p.detach().flatten() for p in layer.parameters()]) - before)
    assert change.item() == pytest.approx(0.1 * 0.01, rel=1e-3)


@pytest.mark.parametrize('method', METHODS)
def test_mmengines_activation_checkpointing_is_answered_with_ours(method, tmp_path, image_root):
    cfg = make_config(tmp_path, image_root, method, **{'activation_checkpointing': ['backbone.blocks.0']})
    with pytest.raises(ValueError, match=r'leave it out, and set model.backbone.activation_checkpointing=True'):
        build_runner(cfg)


def test_models_of_other_toolboxes_keep_mmengines_activation_checkpointing():
    check_checkpointing(Config(dict(model=dict(type=torch.nn.Linear), activation_checkpointing=['weight'])))


class _Failing(torch.utils.data.Dataset):
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 1

    def __getitem__(self, index):
        try:
            raise KeyError('before')
        except KeyError as first:
            raise self.error from first


@pytest.mark.parametrize(
    'message',
    [
        'none of 20 images could be read. The first of them:\n  a.png: no image\n  b.png: no image',
        'one line: with a colon',
        'a list:\n\n    indented\nlast',
        '',
    ],
)
def test_an_error_of_a_loading_worker_keeps_its_whole_text(message, monkeypatch):
    monkeypatch.delenv('MMMIM_TRACEBACK', raising=False)
    with pytest.raises(RuntimeError) as caught:
        next(iter(torch.utils.data.DataLoader(_Failing(RuntimeError(message)), num_workers=1)))
    with pytest.raises(SystemExit) as ended:
        end_with(caught.value, None)
    assert str(ended.value) == f'RuntimeError: {message or "RuntimeError"}\n(MMMIM_TRACEBACK=1 shows where)'


def test_marks_below_a_line_of_code_are_no_message():
    frame = '  File "a.py", line 1, in f\n    a(b)\n    ^^^^\n'
    assert behind_traceback(f'Original Traceback (most recent call last):\n{frame}mmcv.E: x\ny: z\n') == 'x\ny: z'
