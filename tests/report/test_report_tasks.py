"""Dense tasks in the report: both starts side by side, their curves and pictures; and dense runs on their own."""

import json

import numpy as np
import pytest
import torch
from test_report_page import Page

from mmmim.report.commands import next_steps
from mmmim.report.page import write_report
from mmmim.report.run_data import load_run
from mmmim.report.tasks import load_tasks, result
from mmmim.visualization.overlay import color_of
from mmmim.visualization.panel import Panel

COLUMNS = ['image', 'truth', 'from random initialisation', 'from the pre-trained encoder']
COCO = dict(bbox_mAP=0.25, bbox_mAP_50=0.5, bbox_mAP_l=-1.0, segm_mAP=0.125)


def dense_run(folder, values, scope='mmseg', **record):
    """A work dir of 20 iterations, measured at 10 and 20; ``values`` are the last ones, the first are half of them."""
    folder.mkdir(parents=True)
    lines = []
    for i in range(1, 21):
        lines.append(dict(iter=i, epoch=1 + i // 10, lr=1e-3, loss=3 / i, **{'decode.acc_seg': 50.0 + i}))
        if i in (10, 20):
            lines.append(dict(iter=i, epoch=1, **{name: value * i / 20 for name, value in values.items()}))
    (folder / 'curve.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    (folder / 'run.json').write_text(
        json.dumps(
            dict(
                dict(
                    method='EncoderDecoder',
                    seed=0,
                    images=40,
                    batch=4,
                    accumulation=1,
                    processes=1,
                    max_iters=20,
                    max_epochs=1,
                    steps_per_epoch=10,
                    finished=True,
                    config='task.py',
                    sessions=[dict(from_iter=0, to_iter=20, seconds=5.0)],
                ),
                **record,
            )
        )
    )
    (folder / 'task.py').write_text(
        f"default_scope = '{scope}'\nmax_iters = 20\nwarmup_iters = 2\n"
        "model = dict(type='EncoderDecoder', decode_head=dict(type='UPerHead'))\n"
    )
    return folder


@pytest.fixture
def work_dir(tmp_path):
    """Pre-training with a segmentation below it, which has a picture."""
    root = tmp_path / 'quickstart'
    root.mkdir()
    (root / 'curve.jsonl').write_text('{"iter": 1, "epoch": 1, "lr": 0.1, "loss": 1.0}\n')
    dense_run(root / 'segmentation/random', dict(mIoU=30.0, mAcc=44.0, aAcc=70.0))
    dense_run(root / 'segmentation/pretrained', dict(mIoU=42.5, mAcc=55.0, aAcc=80.0))
    tiles = [[np.full((96, 96, 3), 20 * row + 5 * column, np.uint8) for column in range(4)] for row in range(3)]
    notes = dict(classes=['ball', '<b>mug'], score=0.3)
    Panel(tiles, COLUMNS, ['a.jpg', 'b.jpg', 'c.jpg'], notes).save(str(root / 'segmentation/predictions.png'))
    return root


def test_both_starts_stand_side_by_side(work_dir):
    page = Page(write_report([work_dir]))
    assert 'Segmentation' in page.headings and 'Detection' not in page.headings
    assert 'Segmentation: mIoU 30.0% from random initialisation, 42.5% from the pre-trained encoder.' in page.words
    section = page.words[page.words.index('UperNet trained for 20 iterations of 4 images, twice') :]
    assert 'One seed and a short schedule' in section
    assert section.index('30.0%') < section.index('42.5%') < section.index('+12.5') < section.index('+11.0')
    labels = [a['aria-label'] for a in page.all('svg') if 'aria-label' in a]
    (chart,) = [label for label in labels if label.startswith('mIoU, % by iteration')]
    assert 'from random initialisation: 15 at iteration 10, 30 at iteration 20' in chart
    assert 'from the pre-trained encoder: 21.25 at iteration 10, 42.5 at iteration 20' in chart
    assert any(label.startswith('Training loss by iteration. from random') for label in labels)
    assert 'Not to be compared' not in page.words


def test_pictures_have_their_labels(work_dir):
    page = Page(write_report([work_dir]))
    by_name = {image['alt']: pixels for image, pixels in page.images()}
    assert set(by_name) == {f'{column}: {name}' for column in COLUMNS for name in ('a.jpg', 'b.jpg', 'c.jpg')}
    assert np.abs(by_name['from the pre-trained encoder: b.jpg'].astype(int) - 35).max() <= 2
    legend = [a['style'] for a in page.all('span') if a.get('class') == 'patch']
    assert legend == ['background:#{:02x}{:02x}{:02x}'.format(*color_of(index)) for index in (0, 1)]
    assert 'ball<b>mug' in page.words and not page.all('b')
    assert 'score of' not in page.words  # masks have none


def test_unlike_or_unfinished_starts_are_not_to_be_compared(work_dir):
    record = work_dir / 'segmentation/pretrained/run.json'
    facts = json.loads(record.read_text())
    record.write_text(json.dumps(dict(facts, seed=1)))
    assert 'the two runs differ in seed' in Page(write_report([work_dir])).words
    record.write_text(json.dumps(dict(facts, finished=False, max_iters=80)))
    words = Page(write_report([work_dir])).words
    assert 'from the pre-trained encoder: not finished: 20 of 80 iterations' in words and 'differ in max_iters' in words
    for file in record.parent.iterdir():
        file.unlink()
    words = Page(write_report([work_dir])).words
    assert 'there is no run from the pre-trained encoder' in words and '–' in words


def test_average_precisions_are_percentages_and_what_was_not_measured_is_left_out(tmp_path):
    values = {f'coco/{name}': value for name, value in COCO.items()}
    dense_run(tmp_path / 'w/detection/random', values, 'mmdet', method='MaskRCNN')
    dense_run(tmp_path / 'w/detection/pretrained', {}, 'mmdet', method='MaskRCNN')
    (tmp_path / 'w/curve.jsonl').write_text('')
    (task,) = load_tasks(load_run(str(tmp_path / 'w')))
    assert task.ends('coco/bbox_mAP') == (25.0, None) and 'coco/bbox_mAP_l' not in task.starts['random'].measured
    assert result(task) == (
        'Detection: box AP 25.0% from random initialisation; mask AP 12.5% from random initialisation.'
    )


def test_broken_pictures_are_named(work_dir):
    (work_dir / 'segmentation/predictions.png').write_bytes(b'no picture')
    page = Page(write_report([work_dir]))
    assert 'segmentation/predictions.png: it is no panel' in page.words and 'mIoU 30.0%' in page.words


def test_a_dense_run_is_shown_on_its_own(work_dir):
    path = work_dir / 'segmentation/pretrained'
    page = Page(write_report([path]))
    assert page.headings[0] == 'Measurements' and 'Pictures' not in page.headings
    assert 'mIoU 42.5%, ' in page.words and 'iteration 20' in page.words
    assert '20 iterations, 2 of them warm-up' in page.words and 'reconstructions' not in page.words
    labels = [a['aria-label'].split('.')[0] for a in page.all('svg') if 'aria-label' in a]
    assert 'mIoU, % by iteration' in labels and 'Pixel accuracy, % by iteration' in labels


def test_dense_runs_beside_each_other(work_dir, tmp_path):
    page = Page(write_report([work_dir / 'segmentation/random', work_dir / 'segmentation/pretrained'], tmp_path))
    assert 'random · pretrained' in page.words and '30.0%' in page.words and '42.5%' in page.words
    (chart,) = [a['aria-label'] for a in page.all('svg') if a.get('aria-label', '').startswith('mIoU, %')]
    assert 'random: 15 at iteration 10' in chart and 'pretrained: 21.25 at iteration 10' in chart


def test_a_dense_run_goes_on_by_its_own_units(work_dir):
    path = work_dir / 'segmentation/pretrained'
    torch.save({}, path / 'iter_20.pth')
    titles = {step.title: step.lines for step in next_steps(load_run(str(path)))}
    assert 'max_iters=80' in titles['Train longer: 80 iterations'] and '--linear' not in titles['Measure it']
    assert '-m mmmim predict' in titles['See what it says about other images']
    assert str(path / 'iter_20.pth') in titles['Measure it']


def test_the_page_of_noise_stays_small(tmp_path):
    rng = np.random.default_rng(0)
    for task in ('segmentation', 'detection'):
        dense_run(tmp_path / 'w' / task / 'random', dict(mIoU=1.0))
        tiles = [[rng.integers(0, 256, (192, 192, 3), np.uint8) for _ in COLUMNS] for _ in range(6)]
        Panel(tiles, COLUMNS, [f'{i}.jpg' for i in range(6)]).save(str(tmp_path / f'w/{task}/predictions.png'))
    (tmp_path / 'w/curve.jsonl').write_text('')
    path = write_report([tmp_path / 'w'])
    assert len(Page(path).all('img')) == 48 and len(open(path).read()) < 0.8e6
