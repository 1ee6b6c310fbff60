"""tools/quickstart.py trains a segmentor and a detector from both encoders, once, and goes on where it was stopped."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from harness import PLUGIN, ROOT, environment, read_curve
from safetensors.torch import load_file
from test_quickstart import TINY

pytest.importorskip('mmseg')
from mmmim.checkpoint import export_encoder  # noqa: E402
from mmmim.checkpoint.config_text import parse_config_text  # noqa: E402
from mmmim.registry import MODELS  # noqa: E402
from mmmim.report.tasks import SAME  # noqa: E402
from mmmim.visualization.panel import Panel  # noqa: E402

pytestmark = pytest.mark.runs

DEEPER = ['model.backbone.arch.depth=4']  # UperNet takes maps from four blocks
ENCODER = dict(type='mmmim.MaskedViT', arch=dict(embed_dim=32, depth=4, num_heads=2), img_size=32, patch_size=8)
MEASURED = {'held_out/recon_loss': 1.0, 'knn/top1_k20': 20.0, 'linear/top1': 30.0}
# what makes the drawn scenes and the dense tasks short, in a copy of the files
SHORTER = {
    'tools/datasets/make_scenes.py': (('default=2000', 'default=64'), ('default=500', 'default=24')),
    'configs/quickstart/downstream/segmentation.py': (
        ('max_iters = 300', 'max_iters = 12\ntotal_batch_size = 8'),
        ('warmup_iters = 30', 'warmup_iters = 2'),
        ('val_interval=75', 'val_interval=6'),
        ('checkpoint=dict(interval=75', 'checkpoint=dict(interval=2'),
        ('batch_size=20', 'batch_size=8'),
    ),
    'configs/quickstart/downstream/detection.py': (
        ('max_epochs = 2', 'max_epochs = 1'),
        ('warmup_epochs = 0.2', 'warmup_epochs = 0.5'),
        ('val_interval=2', 'val_interval=1'),
    ),
}


class Quickstart:
    """A checkout of its own, small, whose quickstart can be run."""

    def __init__(self, root, *options):
        for name in ('tools', 'configs', 'mmmim'):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns('__pycache__'))
        for name, pairs in SHORTER.items():
            text = (root / name).read_text()
            for old, new in pairs:
                assert text.count(old) == 1, (name, old)
                text = text.replace(old, new)
            (root / name).write_text(text)
        self.root, self.options, self.work_dir = root, options, root / 'work_dirs/quickstart'

    def place_pretraining(self):
        """What a finished and measured pre-training leaves (test_quickstart.py has real ones), of other weights than
        the random start's."""
        (self.work_dir / 'evaluations').mkdir(parents=True)
        torch.manual_seed(99)
        encoder = MODELS.build(ENCODER).state_dict()
        mean_std = dict(mean=[123.0, 117.0, 104.0], std=[58.0, 57.0, 58.0])
        export_encoder(encoder, str(self.work_dir / 'encoder.safetensors'), dict(backbone=ENCODER, **mean_std))
        torch.save(encoder, self.work_dir / 'epoch_3.pth')
        (self.work_dir / 'last_checkpoint').write_text(str(self.work_dir / 'epoch_3.pth'))
        for name in ('random_initialisation', 'epoch_3'):
            (self.work_dir / f'evaluations/{name}.json').write_text(json.dumps(MEASURED))
        (self.work_dir / 'run.json').write_text(
            json.dumps(
                dict(
                    finished=True,
                    max_iters=3,
                    max_epochs=3,
                    batch=64,
                    accumulation=1,
                    processes=1,
                    sessions=[dict(from_iter=0, to_iter=3, seconds=3.0)],
                )
            )
        )

    def start(self, **variables):
        paths = f'{self.root}{os.pathsep}{PLUGIN}'
        return subprocess.Popen(
            [sys.executable, self.root / 'tools/quickstart.py', *self.options, '--cfg-options', *TINY, *DEEPER],
            env=environment(**{'MMMIM_PROGRESS': 'lines', 'PYTHONPATH': paths, **variables}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self):
        process = self.start()
        output, _ = process.communicate(timeout=900)
        assert process.returncode == 0, output[-4000:] + self.log[-4000:]
        return output

    @property
    def log(self):
        path = self.work_dir / 'quickstart.log'
        return path.read_text(errors='replace') if path.exists() else ''

    def record(self, task, start):
        return json.loads((self.work_dir / task / start / 'run.json').read_text())

    def interrupt(self, start, sign, ready):
        """Send a signal as soon as ``ready`` exists in the folder of a start; returns what was printed."""
        process = self.start()
        deadline = time.monotonic() + 900
        while not (self.work_dir / 'segmentation' / start / ready).exists():
            assert time.monotonic() < deadline and process.poll() is None, self.log[-3000:]
            time.sleep(0.02)
        if sign == signal.SIGKILL:  # nobody saves anything; what was started is told by the lock
            worker = int((self.work_dir / '.quickstart.lock').read_text().split()[0])
            for pid in (process.pid, worker):
                os.kill(pid, sign)
        else:
            os.killpg(process.pid, sign)
        output, _ = process.communicate(timeout=400)
        assert not self.record('segmentation', start)['finished'], output
        return process.returncode, output


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """A quickstart that was stopped in one training and killed in the other, and went on; what it printed."""
    quickstart = Quickstart(tmp_path_factory.mktemp('dense') / 'checkout')
    quickstart.place_pretraining()
    code, output = quickstart.interrupt('random', signal.SIGINT, 'last_checkpoint')
    assert code == 130 and 'stopped and saved; the same command continues' in output and 'Traceback' not in output
    assert list((quickstart.work_dir / 'segmentation/random').glob('iter_*.pth'))
    assert quickstart.interrupt('pretrained', signal.SIGKILL, 'last_checkpoint')[0] == -signal.SIGKILL
    return quickstart, quickstart.finish()


def rows(output):
    """The lines of the table at the end: ``{label: (random, pre-trained)}``."""
    found = re.findall(r'^  (\S.*?)  +(\S+)  +(\S+)$', output, re.M)
    return {label: values for label, *values in found}


def test_both_encoders_are_trained_measured_and_shown(finished):
    quickstart, output = finished
    for words in ('2/7 data', '6/7 segmentation (UperNet)', '7/7 report', 'work_dirs/quickstart/segmentation.py'):
        assert words in output, words
    random, pretrained = rows(output)['segmentation (UperNet), mIoU']
    for start, said in (('random', random), ('pretrained', pretrained)):
        measured = [line['mIoU'] for line in read_curve(quickstart.work_dir / 'segmentation' / start) if 'mIoU' in line]
        assert said == f'{measured[-1]:.1f}%'
    page = (quickstart.work_dir / 'report.html').read_text()
    assert f'mIoU {random} from random initialisation, {pretrained} from the pre-trained encoder' in page
    panel = Panel.load(str(quickstart.work_dir / 'segmentation/predictions.png'))
    assert panel.columns == ['image', 'truth', 'from random initialisation', 'from the pre-trained encoder']
    assert len(panel.tiles) == 6 and panel.notes['classes'][:2] == ['ball', 'basket']
    assert all((tiles[0] != tiles[1]).any() for tiles in panel.tiles)
    assert page.count('alt="truth: ') == 6 and 'Not to be compared' not in page


def test_what_was_stopped_or_killed_went_on(finished):
    quickstart, _ = finished
    for start in ('random', 'pretrained'):
        record = quickstart.record('segmentation', start)
        assert record['finished'] and len(record['sessions']) == 2
        assert 0 < record['sessions'][1]['from_iter'] < record['sessions'][1]['to_iter'] == 12
        steps = [line['iter'] for line in read_curve(quickstart.work_dir / 'segmentation' / start) if 'loss' in line]
        assert steps == list(range(1, 13))  # each once


def test_the_two_runs_differ_in_the_encoder_alone(finished):
    quickstart, _ = finished
    records = [quickstart.record('segmentation', start) for start in ('random', 'pretrained')]
    assert [records[0][key] for key in SAME] == [records[1][key] for key in SAME]
    configs = []
    for start in ('random', 'pretrained'):
        config = parse_config_text((quickstart.work_dir / f'segmentation/{start}/segmentation.py').read_text())
        assert (config.pop('pretrained') is None) == (start == 'random') and config.pop('work_dir').endswith(start)
        configs.append(config)
    assert configs[0] == configs[1]
    rates = [
        [
            (line['iter'], line['lr'])
            for line in read_curve(quickstart.work_dir / 'segmentation' / start)
            if 'lr' in line
        ]
        for start in ('random', 'pretrained')
    ]
    assert rates[0] == rates[1] and len(rates[0]) == 12 and max(rate for _, rate in rates[0]) == 1e-3


def test_the_pre_trained_encoder_is_what_is_trained(finished):
    quickstart, _ = finished
    encoder = load_file(quickstart.work_dir / 'encoder.safetensors')
    names = [name for name in encoder if name.endswith('qkv.weight')]
    assert len(names) == 4
    distances = {}
    for start in ('random', 'pretrained'):
        weights = torch.load(quickstart.work_dir / f'segmentation/{start}/iter_12.pth', weights_only=True)['state_dict']
        distances[start] = [
            ((weights[f'backbone.{name}'] - encoder[name]).norm() / encoder[name].norm()).item() for name in names
        ]
    assert max(distances['pretrained']) < 0.3 and min(distances['random']) > 0.9


def test_one_quickstart_at_a_time(finished):
    quickstart, _ = finished
    with open(quickstart.work_dir / '.quickstart.lock', 'a') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = quickstart.start()
        output, _ = process.communicate(timeout=400)
    assert process.returncode == 1 and 'an earlier start of this command is at work' in output


def test_detection_without_mmdet_fails_at_once(tmp_path):
    quickstart = Quickstart(tmp_path / 'checkout', '--detection')
    (tmp_path / 'sitecustomize.py').write_text("import sys\nsys.modules['mmdet'] = None\n")
    process = quickstart.start(PYTHONPATH=f'{tmp_path}{os.pathsep}{quickstart.root}')
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 1 and 'bash tools/setup_env.sh detection' in output and 'Traceback' not in output
    assert not (quickstart.root / 'work_dirs').exists() and not (quickstart.root / 'data').exists()


def test_detection_is_added_and_nothing_is_done_twice(finished):
    pytest.importorskip('mmdet')
    quickstart, first = finished
    kept = {
        path: path.stat().st_mtime_ns
        for path in quickstart.work_dir.rglob('*')
        if path.suffix in ('.pth', '.png', '.jsonl', '.py')
    }
    quickstart.options = ('--detection',)
    output = quickstart.finish()
    assert output.count('done before') == 3 and '6/8 segmentation (UperNet)' in output
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert '7/8 detection (Mask R-CNN)' in output
    for label, values in rows(first).items():
        assert rows(output)[label] == values
    for metric in ('box AP', 'mask AP'):
        assert len(rows(output)[f'detection (Mask R-CNN), {metric}']) == 2
    records = [quickstart.record('detection', start) for start in ('random', 'pretrained')]
    assert [records[0][key] for key in SAME] == [records[1][key] for key in SAME] and records[0]['finished']
    panel = Panel.load(str(quickstart.work_dir / 'detection/predictions.png'))
    assert len(panel.tiles) == 6 and all((tiles[0] != tiles[1]).any() for tiles in panel.tiles)
    page = (quickstart.work_dir / 'report.html').read_text()
    assert '<h2>Detection</h2>' in page and page.count('alt="truth: ') == 12
