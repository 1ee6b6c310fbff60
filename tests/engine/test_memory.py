"""A step that runs out of memory is begun again in smaller passes, as if the run had begun with them."""

import json

import pytest
import torch
from gan_harness import batch_of, optimizers, tiny
from harness import METHODS, largest_difference, load_weights, make_config, read_curve, train_here

from mmmim.datasets.io.encoded import EncodedCrop
from mmmim.engine.loops import memory

pytestmark = pytest.mark.runs

FLOAT64 = {'optim_wrapper.dtype': 'float32', 'default_hooks.checkpoint.interval': 2, 'default_hooks.logger.interval': 1}


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class SmallGPU:
    """Raises CUDA's error in passes of more images than fit, late in a step: in the backward pass of the encoder."""

    def __init__(self, images):
        self.images, self.errors = images, 0

    def __call__(self, module, inputs, output):
        tokens = output[0] if isinstance(output, tuple) else output
        if tokens.requires_grad:
            tokens.register_hook(lambda gradient: self.take(len(gradient)))

    def take(self, images):
        if images > self.images:
            self.errors += 1
            raise torch.cuda.OutOfMemoryError('CUDA out of memory.')


def run(folder, image_root, method, monkeypatch, fits=None, **options):
    cfg = make_config(folder / 'run', image_root, method, epochs=2, **FLOAT64, **options)
    gpu = SmallGPU(fits or 10**6)
    monkeypatch.setattr(memory, 'watches', lambda model: fits is not None)
    built = memory.SmallerPasses.run

    def watched(self, model, batches, optim_wrapper):
        if not getattr(model, 'is_watched', False):
            model.is_watched = True
            model.backbone.norm.register_forward_hook(gpu)
        return built(self, model, batches, optim_wrapper)

    monkeypatch.setattr(memory.SmallerPasses, 'run', watched)
    train_here(cfg)
    monkeypatch.setattr(memory.SmallerPasses, 'run', built)
    return load_weights(folder / 'run'), read_curve(folder / 'run'), gpu.errors


@pytest.mark.parametrize('method', sorted(METHODS))
def test_it_is_as_if_the_run_had_begun_with_smaller_passes(method, tmp_path, image_root, monkeypatch, double):
    small = run(tmp_path / 'small', image_root, method, monkeypatch, max_batch_per_device=4)
    shown = 2 if method == 'vision_electra' else 1  # its discriminator sees each image twice in a pass
    found = run(tmp_path / 'found', image_root, method, monkeypatch, fits=4 * shown)
    assert found[2] == 2 and small[2] == 0  # 16, 8, then 4 fit
    assert largest_difference(small[0], found[0]) < 1e-12
    for ours, theirs in zip(found[1], small[1]):
        assert ours['loss'] == pytest.approx(theirs['loss'], abs=1e-12)
    said = json.loads((tmp_path / 'found/run/run.json').read_text())['smaller_passes']
    assert '4 in each of 4 passes' in said and 'max_batch_per_device=4' in said


def test_what_does_not_fit_at_all_is_the_error_itself(tmp_path, image_root, monkeypatch):
    with pytest.raises(torch.cuda.OutOfMemoryError):
        run(tmp_path, image_root, 'mae', monkeypatch, fits=0.5)


def test_several_processes_are_told_what_to_set():
    def step():
        raise torch.cuda.OutOfMemoryError('CUDA out of memory.')

    with pytest.raises(torch.cuda.OutOfMemoryError, match='max_batch_per_device=8'):
        memory.advise(step, [dict(inputs=torch.zeros(16, 3, 4, 4))])
    with pytest.raises(torch.cuda.OutOfMemoryError) as error:
        memory.advise(step, [dict(inputs=torch.zeros(1, 3, 4, 4))])
    assert 'max_batch' not in str(error.value)


@pytest.mark.parametrize('fused', [True, False])
@pytest.mark.parametrize('clip', [None, dict(max_norm=1.0)])
def test_memory_may_end_in_the_optimizers_first_step(clip, fused, monkeypatch):
    """Its moments are allocated there, in the middle of what the gradient scaler does for float16."""
    monkeypatch.setattr(memory, 'watches', lambda model: True)
    results = []
    for failures in (0, 1):
        model = tiny()
        optim_wrapper = optimizers(
            model, optimizer=dict(type='AdamW', lr=1e-2, fused=fused), dtype='float16', clip_grad=clip
        )
        optimizer = optim_wrapper['generator'].optimizer
        done, left = optimizer.step, [failures]

        def step(*args, done=done, left=left, **kwargs):
            if left[0]:
                left[0] -= 1
                raise torch.cuda.OutOfMemoryError('CUDA out of memory.')
            return done(*args, **kwargs)

        optimizer.step = step
        passes = memory.SmallerPasses(lambda sentence: None, lambda images, passes: None)
        passes.parts = 1 if failures else 2  # where it has to end
        for i in range(2):
            passes.run(model, [batch_of(8, seed=i)], optim_wrapper)
        assert passes.parts == 2
        results.append({name: p.detach().clone() for name, p in model.named_parameters()})
    assert largest_difference(*results) < 1e-6


def test_batches_are_cut_in_order():
    images, samples = torch.arange(4.0).reshape(4, 1, 1, 1), list('abcd')
    first, second = memory.split(dict(inputs=images, data_samples=samples), 2)
    assert torch.equal(second['inputs'], images[2:]) and (first['data_samples'], second['data_samples']) == (
        ['a', 'b'],
        ['c', 'd'],
    )
    views = memory.split(dict(inputs=[images, images + 10], data_samples=samples), 4)
    assert [view.item() for view in views[3]['inputs']] == [3, 13] and views[3]['data_samples'] == ['d']
    crops = [object.__new__(EncodedCrop) for _ in range(4)]  # decoded on the device
    assert memory.split(dict(inputs=crops, data_samples=None), 2)[1] == dict(inputs=crops[2:], data_samples=None)
    single = [torch.zeros(3, 2, 2)] * 4
    assert (
        len(memory.split(dict(inputs=single), 2)[0]['inputs']) == 2
        and memory.size_of(dict(inputs=views[0]['inputs'])) == 1
    )
