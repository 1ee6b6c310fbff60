"""Which config, weights and class names belong to a trained model."""

import json

import pytest
import torch

from mmmim.apis.trained import NoConfig, is_trained, open_trained

CLASSIFIER = """
default_scope = 'mmpretrain'
model = dict(type='ImageClassifier')
classes = ['cat', 'dog']
test_dataloader = dict(dataset=dict(type='mmmim.ImageFolder', pipeline=[]))
"""


def save(path, epoch=1):
    torch.save(dict(state_dict={}, meta=dict(iter=epoch, epoch=epoch), message_hub={}), path)


@pytest.fixture
def run(tmp_path):
    (tmp_path / 'a.py').write_text(CLASSIFIER)
    (tmp_path / 'run.json').write_text(json.dumps(dict(config='a.py')))
    save(tmp_path / 'epoch_1.pth')
    save(tmp_path / 'epoch_2.pth', 2)
    return tmp_path


def test_the_newest_checkpoint_and_the_config_beside_it(run):
    found = open_trained(str(run))
    assert found.checkpoint.endswith('epoch_2.pth') and found.config.endswith('a.py')
    assert found.task == 'classification' and found.classes == ['cat', 'dog']
    assert is_trained(str(run))


def test_the_best_by_validation_comes_before_the_newest_and_what_was_kept_before_both(run):
    save(run / 'best_accuracy_epoch_1.pth')
    assert open_trained(str(run)).checkpoint.endswith('best_accuracy_epoch_1.pth')
    save(run / 'model.pth')
    (run / 'model.py').write_text(CLASSIFIER.replace('cat', 'cow'))
    found = open_trained(str(run))
    assert found.checkpoint.endswith('model.pth') and found.classes == ['cow', 'dog']


def test_a_file_takes_the_config_beside_it_or_a_given_one(run, tmp_path_factory):
    alone = tmp_path_factory.mktemp('alone') / 'x.pth'
    save(alone)
    assert open_trained(str(run / 'epoch_1.pth')).config.endswith('a.py')
    with pytest.raises(FileNotFoundError, match='config='):
        open_trained(str(alone))
    assert open_trained(str(alone), str(run / 'a.py')).task == 'classification'


def test_pre_training_is_no_task(run):
    (run / 'a.py').write_text("model = dict(type='MAE', mask_ratio=0.75)")
    assert not is_trained(str(run))
    with pytest.raises(ValueError, match='finetune'):
        open_trained(str(run))


def test_nothing_there(tmp_path):
    assert not is_trained(str(tmp_path))
    with pytest.raises(FileNotFoundError, match='no checkpoint'):
        open_trained(str(tmp_path))
    with pytest.raises(FileNotFoundError, match='there is no'):
        open_trained(str(tmp_path / 'absent'))


def test_a_config_of_the_checkpoints_name_comes_before_others(run):
    """As in a folder of `mmmim finetune`, which also holds the configs of trainings."""
    save(run / 'model.pth')
    for name in ('model', 'finetune', 'model_example'):
        (run / f'{name}.py').write_text(CLASSIFIER.replace('cat', name))
    assert open_trained(str(run / 'model.pth')).classes == ['model', 'dog']
    assert open_trained(str(run / 'epoch_1.pth')).classes == ['cat', 'dog']


@pytest.mark.parametrize('name', ['setup.py', 'mine_example.py'])
def test_a_program_that_merely_lies_beside_weights_is_not_run(name, tmp_path):
    save(tmp_path / 'epoch_1.pth')
    (tmp_path / name).write_text("raise SystemExit('was run')")
    with pytest.raises(NoConfig, match='epoch_1.py'):
        open_trained(str(tmp_path / 'epoch_1.pth'))
    assert not is_trained(str(tmp_path))
