"""k-NN during pre-training."""

import pytest
from harness import largest_difference, load_weights, make_config, read_curve, train_here

pytestmark = pytest.mark.runs

PIPELINE = [dict(type='LoadImage'), dict(type='Resize', size=16), dict(type='PackImage')]


def test_it_is_recorded_and_changes_nothing_in_training(tmp_path, image_root):
    data = dict(type='ImageFolder', data_root=str(image_root), pipeline=PIPELINE)
    hook = dict(type='KNNHook', interval=1, bank=data, query=data, ks=(5,), num_workers=0)
    for name, hooks in (('with', [hook]), ('without', [])):
        cfg = make_config(
            tmp_path / name,
            image_root,
            epochs=2,
            custom_hooks=hooks,
            **{'custom_imports.imports': ['mmmim'], 'experiment_name': f'{tmp_path}{name}'},
        )
        train_here(cfg)
    assert largest_difference(load_weights(tmp_path / 'with'), load_weights(tmp_path / 'without')) == 0
    measured = [(line['iter'], line['knn/top1_k5']) for line in read_curve(tmp_path / 'with') if 'knn/top1_k5' in line]
    assert [iteration for iteration, _ in measured] == [0, 4, 8]
    # two classes of waves, each picture its own nearest neighbour: far above chance
    assert all(50 < accuracy <= 100 for _, accuracy in measured)


def test_images_without_labels_are_an_error(tmp_path, image_root):
    data = dict(type='ImageFolder', data_root=str(image_root / 'class0'), pipeline=PIPELINE)
    cfg = make_config(
        tmp_path / 'run',
        image_root,
        epochs=2,
        **{
            'custom_hooks': [dict(type='KNNHook', bank=data, query=data, num_workers=0)],
            'custom_imports.imports': ['mmmim'],
            'experiment_name': f'{tmp_path}',
        },
    )
    with pytest.raises(ValueError, match='label'):
        train_here(cfg)


def test_by_default_it_measures_what_the_config_names(tmp_path, image_root):
    """And ends no run whose images have no labels, or whose config names none."""
    for name, root, found in (('labels', image_root, 2), ('none', image_root / 'class0', 0), ('nothing', None, 0)):
        data = dict(type='ImageFolder', data_root=str(root), pipeline=PIPELINE)
        evaluated = dict(feature_eval=dict(bank=data, query=data, linear=True, ks=(5,), num_workers=0)) if root else {}
        cfg = make_config(
            tmp_path / name,
            image_root,
            epochs=3,
            **{
                **evaluated,
                'default_hooks.knn': dict(type='KNNHook', interval=2, at_start=False, linear=False),
                'custom_imports.imports': ['mmmim'],
                'experiment_name': f'{tmp_path}{name}',
            },
        )
        train_here(cfg)
        lines = [line for line in read_curve(tmp_path / name) if 'knn/top1_k5' in line]
        assert [line['iter'] for line in lines] == [8, 12][:found] and not any('linear/top1' in line for line in lines)


def test_bank_and_query_of_other_classes_are_an_error(tmp_path, image_root):
    """Class folders number themselves: with one missing, every label would mean something else."""
    import shutil

    shutil.copytree(image_root / 'class1', tmp_path / 'val/class1')
    shutil.copytree(image_root / 'class1', tmp_path / 'val/class2')
    from mmmim.evaluation import FeatureEvaluator

    bank, query = (
        dict(type='mmmim.ImageFolder', data_root=str(root), pipeline=[]) for root in (image_root, tmp_path / 'val')
    )
    with pytest.raises(ValueError, match='different classes.*class0.*class2'):
        FeatureEvaluator(bank, query, num_workers=0)(None)
