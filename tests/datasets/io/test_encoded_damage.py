"""JPEGs with a whole header, so that a worker hands them on, which no decoder reads. The device is the CPU here."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.io
from harness import largest_difference, load_weights, make_config, read_curve, train_here
from image_files import save, smooth

from mmmim.datasets import ImageFolder, ImageReadError, SampleIndex, SeededDataset, mim_collate
from mmmim.datasets.io.encoded import EncodedCrop, decode_crops
from mmmim.engine.hooks.bad_images import TooManyBadImagesError
from mmmim.models.preprocess import MIMDataPreprocessor

DECODE_LATER = {'train_dataloader.dataset.pipeline.0.decode': 'device', 'custom_imports.imports': ['mmmim']}
pytestmark = pytest.mark.filterwarnings('ignore:cpu does not decode some JPEGs')


def damage(path):
    """Markers in the place of the first pixels."""
    content = bytearray(path.read_bytes())
    begin = content.index(b'\xff\xda') + 40
    content[begin : begin + 80] = b'\xff\xd8' * 40
    assert len(content) > begin + 100
    path.write_bytes(content)


def folder(path, damaged, count=5):
    """``count`` JPEGs of different brightness, in folders of two classes."""
    for index in range(count):
        (path / f'class{index % 2}').mkdir(parents=True, exist_ok=True)
        file = Path(save(path / f'class{index % 2}/{index}.jpg', smooth(120, 160) // (1 + index), quality=95))
        if index in damaged:
            damage(file)
    return path


def batch_of(path):
    """All images, in the order of the files' names."""
    pipeline = [dict(type='LoadImage', decode='device'), dict(type='Resize', size=32), dict(type='PackImage')]
    data = SeededDataset(ImageFolder(str(path), pipeline=pipeline))
    samples = sorted(
        (data[SampleIndex(index, index)] for index in range(len(data))),
        key=lambda sample: Path(sample['data_samples'].img_path).name,
    )
    assert all(isinstance(sample['inputs'], EncodedCrop) for sample in samples)
    return mim_collate(samples)


def test_the_next_image_of_the_batch_stands_in(tmp_path):
    whole, part = batch_of(folder(tmp_path / 'whole', ())), batch_of(folder(tmp_path / 'part', (1, 2, 4)))
    expected, made = (MIMDataPreprocessor()(batch)['inputs'] for batch in (whole, part))
    for place, shown in enumerate([0, 3, 3, 3, 0]):
        sample = part['data_samples'][place]
        assert torch.equal(made[place], expected[shown]), place
        assert Path(sample.img_path).name == f'{shown}.jpg' and sample.gt_label == shown % 2
        assert sample.seed == whole['data_samples'][place].seed
        assert [Path(path).name for path, _ in sample.replaced] == ([f'{place}.jpg'] if shown != place else [])
        assert all('broken data stream' in reason for _, reason in sample.replaced)


def test_nothing_stands_in_where_nothing_can_or_nobody_would_know(tmp_path):
    with pytest.raises(ImageReadError, match='0.jpg: .*broken data stream'):
        MIMDataPreprocessor()(batch_of(folder(tmp_path / 'all', (0, 1), count=2)))
    with pytest.raises(ImageReadError, match='1.jpg: .*broken data stream'):
        MIMDataPreprocessor()(dict(inputs=batch_of(folder(tmp_path / 'one', (1,)))['inputs']))


@pytest.fixture
def damaged_root(tmp_path, image_root):
    """The test images, one of them damaged."""
    shutil.copytree(image_root, tmp_path / 'damaged')
    damage(tmp_path / 'damaged/class0/003.jpg')
    return tmp_path / 'damaged'


def config(work_dir, images, max_share=0.02, **overrides):
    return make_config(
        work_dir,
        images,
        epochs=2,
        **DECODE_LATER,
        experiment_name=str(work_dir),
        **{'default_hooks.bad_images.max_share': max_share, **overrides},
    )


def test_training_lists_it_and_a_resumed_run_passes_it(tmp_path, damaged_root):
    train_here(config(tmp_path / 'whole', damaged_root))
    for options in ({'train_cfg.max_iters': 5}, {'resume': True}):
        train_here(config(tmp_path / 'parts', damaged_root, **options))
    for run in ('whole', 'parts'):
        curve = read_curve(tmp_path / run)
        assert len(curve) == 8 and np.isfinite([line['loss'] for line in curve]).all()
        (line,) = (tmp_path / run / 'bad_images.txt').read_text().splitlines()
        assert line.split('\t')[0].endswith('class0/003.jpg') and 'broken data stream' in line.split('\t')[1]
    assert largest_difference(load_weights(tmp_path / 'whole'), load_weights(tmp_path / 'parts')) == 0


def test_the_limit_holds(tmp_path, damaged_root):
    with pytest.raises(TooManyBadImagesError, match=r'1 of 64 images.*1\.0%.*003\.jpg'):
        train_here(config(tmp_path / 'run', damaged_root, max_share=0.01))


def test_a_gpu_has_ended_what_it_was_given_before_it_decodes(tmp_path, monkeypatch):
    """What torch is asked for, in order, with a decoder that stands for the GPU's."""
    events = []
    good, bad = Path(save(tmp_path / 'a.jpg', smooth(64, 64))).read_bytes(), b'\xff\xd8\xff' + bytes(100)

    class Stream:
        def synchronize(self):
            events.append('wait')

    def decode(files, **kwargs):
        events.append([len(file) for file in files])
        if len(bad) in events[-1]:
            raise RuntimeError('nvJPEG says no')
        return [torch.zeros(3, 64, 64, dtype=torch.uint8) for _ in files]

    monkeypatch.setattr(torch.cuda, 'current_stream', lambda device: Stream())
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda device: events.append('wait for all streams'))
    monkeypatch.setattr(torchvision.io, 'decode_jpeg', decode)
    crops = [
        EncodedCrop(content, path, (0, 0, 64, 64), (64, 64), 'bicubic')
        for content, path in ((good, 'good.jpg'), (bad, 'bad.jpg'))
    ]
    with pytest.warns(UserWarning, match='cuda does not decode'):
        _, stand_ins = decode_crops(crops, 'cuda')
    assert stand_ins[1].place == 0
    assert events == ['wait', [len(good), len(bad)], 'wait', [len(good)], 'wait', [len(bad)], 'wait for all streams']
