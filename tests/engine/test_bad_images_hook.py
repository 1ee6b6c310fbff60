"""Unreadable images while training."""

import shutil
from types import SimpleNamespace

import pytest
from harness import largest_difference, load_weights, make_config, read_curve, save_config, train, train_here

from mmmim.engine.hooks.bad_images import BadImagesHook, TooManyBadImagesError

pytestmark = pytest.mark.runs


@pytest.fixture
def damaged(tmp_path, image_root):
    """The test images with one truncated and one that is text."""
    root = tmp_path / 'damaged'
    shutil.copytree(image_root, root)
    broken = root / 'class0/003.jpg'
    broken.write_bytes(broken.read_bytes()[:200])
    (root / 'class1/007.jpg').write_text('<html>not found</html>')
    return root


def _config(work_dir, images, **overrides):
    return make_config(
        work_dir,
        images,
        epochs=2,
        **{'custom_imports.imports': ['mmmim'], 'experiment_name': f'{work_dir}', **overrides},
    )


def test_they_are_replaced_counted_and_listed(tmp_path, damaged):
    train_here(_config(tmp_path / 'run', damaged, **{'default_hooks.bad_images.max_share': 0.1}))
    assert len(read_curve(tmp_path / 'run')) == 8
    lines = (tmp_path / 'run/bad_images.txt').read_text().splitlines()
    assert [line.split('\t')[0][-14:] for line in lines] == ['class0/003.jpg', 'class1/007.jpg']
    assert all(line.split('\t')[1] for line in lines)
    log = ''.join(path.read_text() for path in (tmp_path / 'run').glob('*/*.log'))
    assert '2 unreadable images were replaced' in log


def test_replacement_does_not_depend_on_workers(tmp_path, damaged):
    weights = []
    for workers in (0, 2):
        work_dir = tmp_path / f'workers{workers}'
        train_here(
            _config(
                work_dir,
                damaged,
                **{'default_hooks.bad_images.max_share': 0.1, 'train_dataloader.num_workers': workers},
            )
        )
        weights.append(load_weights(work_dir))
    assert largest_difference(*weights) == 0


def test_too_many_stop_the_run_with_the_remedy(tmp_path, damaged):
    with pytest.raises(TooManyBadImagesError, match=r'2 of 64 images.*1\.0%.*bad_images\.txt.*max_share'):
        train_here(_config(tmp_path / 'run', damaged))


def test_too_many_stop_all_ranks_together(tmp_path, damaged):
    """One rank alone may have met them: both end by themselves, long before any time-out."""
    config = save_config(_config(tmp_path / 'run', damaged), tmp_path / 'config.py')
    done = train(config, processes=2, check=False, timeout=120)
    assert done.returncode != 0
    # each rank's own message, unless the launcher ended the second one while it was saying so
    assert 'TooManyBadImagesError' in done.stderr
    assert 'Connection closed' not in done.stderr
    assert (tmp_path / 'run/bad_images.txt').read_text().count('\n') == 2


def test_names_of_any_characters_are_listed_and_read_back(tmp_path):
    bad = {'a\tb.jpg': 'no image', ' c\n.jpg': 'cut\n  off', 'd\udcff.jpg': 'empty', 'e.jpg': 'a\tb'}
    runner = SimpleNamespace(
        work_dir=str(tmp_path), iter=0, rank=0, train_dataloader=SimpleNamespace(dataset=range(100))
    )
    hook = BadImagesHook(max_share=1)
    hook.before_train(runner)
    hook.bad = dict(bad)
    hook._check(runner)
    again = BadImagesHook()
    again.before_train(SimpleNamespace(**{**vars(runner), 'iter': 5}))
    assert again.bad == {name: ' '.join(reason.split()) for name, reason in bad.items()}
