"""The report page: whole, safe and self-contained, for whatever a work dir holds."""

import base64
import io
import json
import re
import runpy
import shutil
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from harness import ROOT, make_config, save_config, train_here
from mmengine.config import Config
from PIL import Image

from mmmim.report.page import write_report
from mmmim.report.pictures import LEAK
from mmmim.report.run_data import load_runs
from mmmim.report.run_metrics import describe
from mmmim.report.tables import differences
from mmmim.visualization.panel import Panel

SECTIONS = ['k-NN', 'Pictures', 'Measurements', 'Curves', 'Settings', 'Speed and hardware', 'How to go on', 'Files']
VOID = {'br', 'img', 'link', 'meta'}
EVIL = '<script>alert("größe")</script>'


class Page(HTMLParser):
    """A page taken apart; it fails where tags are not closed in order."""

    def __init__(self, path):
        super().__init__()
        self.source = open(path, encoding='utf-8').read()
        self.elements, self.open, self.text, self.headings = [], [], [], []
        self.feed(self.source)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open[-1:] == ['h2']:
            self.headings.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self):
        return ''.join(self.text)

    def images(self):
        for image in self.all('img'):
            kind, data = re.fullmatch('data:image/(png|jpeg);base64,(.+)', image['src']).groups()
            yield image, np.asarray(Image.open(io.BytesIO(base64.b64decode(data)), formats=[kind]).convert('RGB'))


@pytest.fixture(scope='module')
def trained(tmp_path_factory, image_root):
    """A real run of two epochs, measured as tools/test.py would."""
    folder = tmp_path_factory.mktemp('report')
    cfg = make_config(
        folder / 'run',
        image_root,
        epochs=2,
        custom_hooks=[dict(type='ReconstructionHook', interval=1, num_images=3, at_start=True)],
    )
    train_here(Config.fromfile(str(save_config(cfg, folder / 'tiny.py'))))
    for name, values in dict(
        random=dict(checkpoint='random initialisation', iter=0, knn=51.26),
        epoch_2=dict(checkpoint='epoch_2.pth', iter=8, epoch=2, knn=71.94),
    ).items():
        values['knn/top1_k3'] = values.pop('knn')
        (folder / 'run/evaluations').mkdir(exist_ok=True)
        (folder / f'run/evaluations/{name}.json').write_text(json.dumps(values))
    return folder / 'run'


@pytest.fixture
def run_dir(trained, tmp_path):
    """A copy to change."""
    return shutil.copytree(trained, tmp_path / 'run')


def panel(size=32, rows=8, names=None, noise=False, **notes):
    rng = np.random.default_rng(0)
    tiles = [
        [
            rng.integers(0, 256, (size, size, 3), np.uint8)
            if noise
            else np.full((size, size, 3), 20 * row + 5 * column, np.uint8)
            for column in range(3)
        ]
        for row in range(rows)
    ]
    return Panel(tiles, ['original', 'masked', 'reconstruction'], names or [f'image {i}' for i in range(rows)], notes)


@pytest.mark.runs
def test_a_real_run_is_shown_whole(trained):
    path = write_report([str(trained)])
    assert path == str(trained / 'report.html')
    page = Page(path)
    assert page.headings == SECTIONS  # nothing is missing, so there is no "Not shown"
    assert 'k-NN accuracy (k = 3) 51.3 → 71.9%' in page.words and '+20.7' in page.words
    for part in ('ReconstructionHead', 'seed', 'images/s', 'torch', 'float32', 'epoch_2.pth', 'MaskedViT'):
        assert part in page.words
    assert page.words.count("original patch's mean and variance") >= 2  # with norm_pix it is said where it is seen
    images = list(page.images())
    assert len(images) == 3 * 3 + 3 * 4  # the newest panel; original and epochs 0, 1, 2
    assert all(image['alt'] and pixels.std() > 0 for image, pixels in images)
    assert {a['aria-label'].split(' by ')[0] for a in page.all('svg') if 'aria-label' in a} == {
        'Training loss',
        'k-NN accuracy (k = 3), %',
        'Learning rate',
    }


def test_nothing_is_fetched_and_nothing_runs(trained, tmp_path):
    page = Page(write_report([trained], tmp_path / 'report.html'))
    ids = {attributes['id'] for _, attributes in page.elements if 'id' in attributes}
    for tag, attributes in page.elements:
        assert tag not in ('script', 'iframe', 'object', 'embed', 'base', 'form')
        assert not any(name.startswith('on') for name in attributes)
        for name in set(attributes) & {'href', 'src', 'srcset', 'action', 'poster', 'data'}:
            value = attributes[name]
            assert value.startswith('data:') or (value[0] == '#' and value[1:] in ids)
    style = re.search('<style>(.*)</style>', page.source, re.S)[1]
    assert 'url(' not in style and '@import' not in style and 'prefers-color-scheme: dark' in style
    assert 'http' not in page.source.replace('http-equiv', '')
    (policy,) = [a['content'] for a in page.all('meta') if a.get('http-equiv') == 'Content-Security-Policy']
    assert policy.startswith("default-src 'none'")


def test_pictures_are_the_panels(tmp_path):
    (tmp_path / 'reconstructions').mkdir()
    for epoch in range(1, 41):
        panel(epoch=epoch).save(str(tmp_path / f'reconstructions/epoch_{epoch:04d}.png'))
    page = Page(write_report([tmp_path]))
    images = list(page.images())
    assert len(images) == 8 * 3 + 4 * 6
    by_name = {image['alt']: pixels for image, pixels in images}
    assert (by_name['masked: image 7'] == 145).all() and (by_name['reconstruction, epoch 40: image 3'] == 70).all()
    assert ' epoch 1:' in ' '.join(by_name)  # the first and the last are among those that are shown
    assert 'mean and variance' not in page.words


def test_a_leak_is_labelled_where_the_column_does_not_say_it(tmp_path):
    (tmp_path / 'reconstructions').mkdir()
    panel(epoch=1, uses_original_statistics=True).save(str(tmp_path / 'reconstructions/epoch_0001.png'))
    page = Page(write_report([tmp_path]))
    assert all(
        'mean and variance' in image['alt'] for image, _ in page.images() if image['alt'].startswith('reconstruction')
    )
    assert 'which the model was not shown' in page.words


def test_text_from_outside_stays_text(run_dir):
    (run_dir / 'bad_images.txt').write_text(
        f'{EVIL}.jpg\t<img src=x onerror=alert(1)> \udcff\x07\n', errors='surrogateescape'
    )
    record = json.loads((run_dir / 'run.json').read_text())
    record.update(method=EVIL, command=f'python tools/train.py "{EVIL}.py"', versions={EVIL: EVIL})
    (run_dir / 'run.json').write_text(json.dumps(record))
    (run_dir / 'reconstructions/epoch_0009.png').unlink(missing_ok=True)
    panel(names=[EVIL + str(i) for i in range(8)]).save(str(run_dir / 'reconstructions/epoch_0009.png'))
    with open(run_dir / 'curve.jsonl', 'a') as file:
        file.write(json.dumps({'iter': 1, 'epoch': 1, f'{EVIL}/a': 1.0, EVIL: 2.0}) + '\n')
    page = Page(write_report([shutil.move(run_dir, run_dir.parent / '<b>größe')], run_dir.parent / 'out.html'))
    assert '<script' not in page.source and 'onerror=alert(1)> ' not in page.source
    assert not page.all('b') and len(page.all('img')) == 8 * 3  # panels of other images make no strip
    assert EVIL in page.words and '<b>größe' in page.words


@pytest.mark.parametrize('value', [None, True, -1, 10**400, '\ud800<script>', [1, 'a'], {'a': {'b': None}}], ids=repr)
def test_a_record_of_any_kind_is_shown(run_dir, value):
    shutil.rmtree(run_dir / 'reconstructions')  # they take time
    record = json.loads((run_dir / 'run.json').read_text())
    places = [(record, key) for key in record] + [
        (part, key)
        for part in (record['hardware'], record['versions'], record['sessions'][0], record['parameters'])
        for key in list(part)
    ]
    for holder, key in places:
        before, holder[key] = holder[key], value
        (run_dir / 'run.json').write_text(json.dumps(record))
        holder[key] = before
        page = Page(write_report([run_dir], run_dir.parent / 'out.html'))
        assert page.headings[:4] == SECTIONS[:4] and '<script>' not in page.source


def test_broken_files_are_named_and_the_rest_is_shown(run_dir):
    for name in ('run.json', 'evaluations/epoch_2.json', 'reconstructions/epoch_0002.png', 'encoder.safetensors'):
        (run_dir / name).write_bytes((run_dir / name).read_bytes()[:50])
    with open(run_dir / 'curve.jsonl', 'a') as file:
        file.write('{"iter": 9, "ep')
    page = Page(write_report([run_dir]))
    assert page.headings[-1] == 'Not shown'
    notes = page.words[page.words.rindex('Not shown') :]
    assert all(name in notes for name in ('run.json', 'evaluations/epoch_2.json', 'epoch_0002.png', 'curve.jsonl'))
    assert len(page.all('img')) == 3 * 3 + 3 * 3 and 'epoch 1' in page.words


def test_unfinished_and_broken_off_runs_say_so(run_dir):
    record = json.loads((run_dir / 'run.json').read_text())
    (run_dir / 'run.json').write_text(json.dumps(dict(record, finished=False, max_iters=800)))
    (run_dir / 'non_finite.json').write_text(json.dumps(dict(iter=9, values=dict(loss='nan'))))
    words = Page(write_report([run_dir])).words
    assert 'Not finished: 8 of 800 iterations.' in words and 'Ended at iteration 9: the loss was not finite' in words
    (run_dir / 'non_finite.json').write_text(json.dumps(dict(iter=3, values=dict(loss='nan'))))
    assert 'the loss was not finite (' not in Page(write_report([run_dir])).words  # it went on since


def test_several_runs_side_by_side(trained, run_dir):
    (config,) = run_dir.glob('*.py')
    config.write_text(config.read_text().replace('embed_dim=16', 'embed_dim=48'))
    other = run_dir.rename(run_dir.parent / 'wider')
    (other / 'evaluations/epoch_2.json').write_text('{"checkpoint": "epoch_2.pth", "iter": 8, "knn/top1_k3": 75.0}')
    runs = load_runs([str(trained), str(other)])
    assert ('model.neck.embed_dim', ['16', '48']) in differences(runs)
    page = Page(write_report([trained, other], other / 'both.html'))
    assert page.headings == SECTIONS and 'run · wider' in page.words
    assert '51.3% → 75.0% (+23.7)' in page.words and 'model.neck.embed_dim' in page.words
    same = [pixels for image, pixels in page.images() if image['alt'].startswith(('run, epoch 2,', 'wider, epoch 2,'))]
    assert len(same) == 6 and (same[0] == same[1]).all()  # the same image by both runs stands in one row
    loss = next(a['aria-label'] for a in page.all('svg') if a.get('aria-label', '').startswith('Training loss'))
    assert 'run: ' in loss and 'wider: ' in loss


def test_side_by_side_says_whose_pictures_know_more_and_whether_masks_agree(tmp_path):
    for name, options in (('leaky', dict(uses_original_statistics=True)), ('plain', {}), ('other', dict(noise=True))):
        (tmp_path / name / 'reconstructions').mkdir(parents=True)
        (tmp_path / name / 'curve.jsonl').write_text('{"iter": 1, "epoch": 1, "loss": 1.0}\n')
        panel(epoch=1, **options).save(str(tmp_path / name / 'reconstructions/epoch_0001.png'))
    words = Page(write_report([tmp_path / 'leaky', tmp_path / 'plain'], tmp_path / 'a.html')).words
    assert re.search(f'leaky\\s*\\(epoch 1; {LEAK}\\)', words) and re.search(r'plain\s*\(epoch 1\)', words)
    assert f'Removed patches of leaky are painted with the {LEAK}' in words
    assert re.search(r'original\s*masked\s*leaky', words) and 'under its own mask' not in words
    words = Page(write_report([tmp_path / 'plain', tmp_path / 'other'], tmp_path / 'b.html')).words
    assert 'reconstructed by each run, each under its own mask' in words and re.search(r'original\s*plain', words)
    assert LEAK not in words


def test_the_page_stays_small(tmp_path):
    for run in range(2):
        folder = tmp_path / f'run{run}' / 'reconstructions'
        folder.mkdir(parents=True)
        for epoch in range(1, 6):
            panel(224, noise=True, epoch=epoch).save(str(folder / f'epoch_{epoch:04d}.png'))  # no JPEG can shrink it
        with open(tmp_path / f'run{run}/curve.jsonl', 'w') as file:
            file.writelines(json.dumps(dict(iter=i, epoch=i // 100 + 1, loss=1 / i)) + '\n' for i in range(1, 5001))
    for count, images in ((1, 48), (2, 84)):
        path = write_report([tmp_path / f'run{i}' for i in range(count)], tmp_path / 'report.html')
        assert (tmp_path / 'report.html').stat().st_size < 3e6 and len(Page(path).all('img')) == images


def test_the_tool_prints_the_path_and_ends_with_one_line(trained, tmp_path, monkeypatch, capsys):
    def tool(*arguments):
        monkeypatch.setattr(sys, 'argv', ['report.py', *map(str, arguments)])
        runpy.run_path(str(ROOT / 'tools/visualize/report.py'), run_name='__main__')

    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / 'a')
    shutil.copytree(trained, tmp_path / 'b')
    tool('a', 'b', '--title', 'Two & two')
    assert capsys.readouterr().out == './report.html\n' and 'Two & two' in Page('report.html').words
    tool('a', '--out', tmp_path / 'a')
    assert capsys.readouterr().out == f'{tmp_path}/a/report.html\n'
    (tmp_path / 'empty').mkdir()
    for name, message in (('empty', 'is no work dir'), ('nothing', 'there is no folder')):
        with pytest.raises(SystemExit, match=message) as end:
            tool('a', name)
        assert len(str(end.value).splitlines()) == 2 and 'report.html' not in str(end.value)


def test_a_discriminators_accuracies_are_shares_and_a_linear_probes_are_per_cent():
    shares = describe('image_original_accuracy')
    assert (shares.title, shares.percent) == ('image original accuracy', False)
    assert describe('accuracy/top1').percent and describe('linear/top1').percent
