"""The list that tools/datasets/draw_label_subset.py writes."""

import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from mmmim.apis.label_split import LabelSplit
from mmmim.datasets import ImageFolder, ImageSubset
from mmmim.datasets.inputs import all_images

pytestmark = pytest.mark.runs

TOOL = Path(__file__).resolve().parents[2] / 'tools/datasets/draw_label_subset.py'
spec = importlib.util.spec_from_file_location('draw_label_subset', TOOL)
draw_label_subset = importlib.util.module_from_spec(spec)
spec.loader.exec_module(draw_label_subset)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'train'
    for name, count in (('dog', 40), ('cat', 20), ('ice cream', 3)):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new('RGB', (4, 4)).save(root / name / f'{name} {i}.png')
    return root


def command(*args):
    return subprocess.run([sys.executable, str(TOOL), *map(str, args)], capture_output=True, text=True, timeout=120)


def test_both_data_sets_read_the_list_alike(folders, tmp_path):
    done = command(folders, '--share', 0.1, '--out', tmp_path / 'new/list.txt')
    assert done.returncode == 0 and '7 images' in done.stdout, done.stderr
    lines = (tmp_path / 'new/list.txt').read_text().splitlines()
    assert Counter(line.split('/')[0] for line in lines) == {'cat': 2, 'dog': 4, 'ice cream': 1}
    whole = ImageFolder(str(folders))
    label_of = {whole.get_data_info(i)['img_path']: whole.get_data_info(i)['gt_label'] for i in range(len(whole))}
    for kind in (ImageFolder, ImageSubset):
        dataset = kind(str(folders), ann_file=str(tmp_path / 'new/list.txt'))
        infos = [dataset.get_data_info(i) for i in range(len(dataset))]
        assert len(infos) == 7 and all(label_of[info['img_path']] == info['gt_label'] for info in infos)


def test_a_csv_is_read_as_labels_and_as_images(folders, tmp_path):
    draw_label_subset.draw(str(folders), 0.5, tmp_path / 'draw.csv')
    split = LabelSplit.of(str(tmp_path / 'draw.csv'))
    images, labels = zip(*split.images())
    assert split.classes == ['cat', 'dog'] and Counter(labels) == {0: 10, 1: 20}  # of 'ice cream' two are too few
    assert all(Path(image).parent.name == split.classes[label] for image, label in zip(images, labels))
    root, names, _ = all_images(str(tmp_path / 'draw.csv'))
    assert len(names) == 32 and {(Path(root) / name).resolve() for name in names} <= set(folders.rglob('*.png'))


def test_the_same_seed_gives_the_same_file(folders, tmp_path):
    for name, seed in (('a', 1), ('b', 1), ('c', 2)):
        assert draw_label_subset.draw(str(folders), 0.3, tmp_path / name, seed) == 12 + 6 + 1
    a, b, c = ((tmp_path / name).read_bytes() for name in 'abc')
    assert a == b != c


def test_a_list_in_use_is_not_overwritten(folders, tmp_path):
    draw_label_subset.draw(str(folders), 0.1, tmp_path / 'list')
    before = (tmp_path / 'list').read_text()
    draw_label_subset.draw(str(folders), 0.1, tmp_path / 'list')  # the same one is no conflict
    done = command(folders, '--share', 0.5, '--out', tmp_path / 'list')
    assert done.returncode == 1 and 'holds another list' in done.stderr and 'Traceback' not in done.stderr
    assert (tmp_path / 'list').read_text() == before


def test_errors(folders, tmp_path):
    with pytest.raises(FileNotFoundError, match='does not exist'):
        draw_label_subset.draw('nowhere', 0.1, tmp_path / 'list')
    done = command(folders, '--share', 3, '--out', tmp_path / 'list')
    assert done.returncode == 1 and 'must lie in' in done.stderr and 'Traceback' not in done.stderr
    assert not (tmp_path / 'list').exists()
