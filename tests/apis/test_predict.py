"""`mmmim.predict`: any number of images to a table, masks, results in COCO's form, measures and a page."""

import json
import os
import re
import shutil
import socket

import numpy as np
import pytest
import torch
from harness import python
from PIL import Image
from predict_harness import make_classifier, make_segmentor, run, table
from seg_harness import make_masks

import mmmim
from mmmim.apis.label_split import LabelSplit
from mmmim.apis.predicting.outputs import Names, overlay
from mmmim.apis.predicting.parts import Parts
from mmmim.apis.predicting.predictor import Predictor
from mmmim.checkpoint import CheckpointWriteError
from mmmim.datasets.inputs import read_data


@pytest.fixture(scope='module')
def classifier(tmp_path_factory, image_root):
    return str(make_classifier(tmp_path_factory.mktemp('classifier'), image_root))


@pytest.fixture(scope='module')
def mask_data(tmp_path_factory):
    return make_masks(tmp_path_factory.mktemp('masks') / 'data', train=1, val=4)


@pytest.fixture(scope='module')
def segmentor(tmp_path_factory, mask_data):
    return str(make_segmentor(tmp_path_factory.mktemp('segmentor'), mask_data))


@pytest.fixture
def photos(tmp_path, image_root):
    """Twelve images in two folders, one of them broken."""
    folder = tmp_path / 'photos'
    for kind in ('class0', 'class1'):
        (folder / kind).mkdir(parents=True)
        for i in range(6):
            shutil.copy(image_root / kind / f'{i:03d}.jpg', folder / kind)
    (folder / 'class1/005.jpg').write_text('no image')
    return folder


def test_a_row_an_image_as_the_model_says_it(classifier, photos, tmp_path):
    out = tmp_path / 'out'
    found = run(classifier, photos, out)
    rows = table(out)
    assert (found.task, found.images, found.rows, found.unreadable) == ('classification', 11, 11, 1)
    assert (out / 'unreadable.txt').read_text().strip() == str(photos / 'class1/005.jpg')
    assert any('class1/005.jpg' in note for note in found.notes) and found.measures is None
    model = mmmim.load(classifier)
    for row in rows:
        alone = model.predict(row['file'])
        assert row['class'] == alone.names[0]
        assert float(row['probability']) == pytest.approx(alone.confidence, abs=1e-3)
    assert list(rows[0]) == ['file', 'class', 'probability']
    assert json.loads((out / 'predictions.json').read_text())['rows'] == 11


def test_the_table_is_a_label_file(classifier, image_root, tmp_path):
    out = tmp_path / 'out'
    run(classifier, image_root, out)
    rows = table(out)
    assert {row['class'] for row in rows} == {'cat', 'dog'}
    split = LabelSplit.of(str(out / 'predictions.csv'))
    labels = {row['file']: row['class'] for row in rows}
    assert len(split.images()) == 64 and split.classes == ['cat', 'dog']
    assert all(split.classes[label] == labels[file] for file, label in split.images())
    assert len(read_data(str(out / 'predictions.csv')).train.names) == 64


@pytest.mark.parametrize('name', ['a,b.jpg', ' blank .jpg', 'a"b.jpg', 'line\nbreak.jpg', 'ü;|.jpg', b'\xff.jpg'])
def test_names_of_any_characters_are_read_back(classifier, image_root, tmp_path, name):
    name = os.fsdecode(name)
    (tmp_path / 'in').mkdir()
    for other in (name, 'plain.jpg', 'other.jpg'):
        shutil.copy(image_root / 'class0/000.jpg', tmp_path / 'in' / other)
    run(classifier, tmp_path / 'in', tmp_path / 'out')
    path = str(tmp_path / 'in' / name)
    assert path in [row['file'] for row in table(tmp_path / 'out')]
    found = read_data(str(tmp_path / 'out/predictions.csv')).train
    assert path in [os.path.join(found.root, file) for file in found.names]


def test_images_below_a_confidence_get_no_row_and_are_counted(classifier, image_root, tmp_path):
    out = tmp_path / 'out'
    everything = run(classifier, image_root, out)
    sure = sorted(float(row['probability']) for row in table(out))
    bound = (sure[20] + sure[21]) / 2
    calls = count_calls(Predictor, 'results')
    found = run(classifier, image_root, out, min_confidence=bound)
    calls.undo()
    assert (everything.rows, found.rows, found.below) == (64, 43, 21)
    assert min(float(row['probability']) for row in table(out)) >= bound
    assert calls.count == 0  # what is on the disk is read again


class count_calls:
    """Counts the calls of a method until undone."""

    def __init__(self, owner, name):
        self.count, self.owner, self.name, self.before = 0, owner, name, getattr(owner, name)

        def counting(*args, **kwargs):
            self.count += 1
            return self.before(*args, **kwargs)

        setattr(owner, name, counting)

    def undo(self):
        setattr(self.owner, self.name, self.before)


def test_held_out_images_and_their_copies_get_no_row(classifier, photos, tmp_path):
    """By the file, by a link to it, and by the content under another name, however many copies there are."""
    folder = tmp_path / 'model'
    shutil.copytree(classifier, folder)
    paths = sorted(map(str, photos.rglob('*.jpg')))
    split = LabelSplit(['cat', 'dog'], [(paths[0], 0)], [(paths[1], 0)], [(paths[2], 0)], '', str(photos), 'x')
    split.write(str(folder))
    new = tmp_path / 'new'
    new.mkdir()
    for name, source in (('fit', 0), ('a', 1), ('b', 1), ('c', 2), ('d', 3)):
        shutil.copy(paths[source], new / f'{name}.jpg')
    os.symlink(paths[2], new / 'link.jpg')
    found = run(folder, new, tmp_path / 'out')
    assert [os.path.basename(row['file']) for row in table(tmp_path / 'out')] == ['d.jpg', 'fit.jpg']
    assert found.held_out == 4 and 'with-held-out' in found.notes[0]
    everything = run(folder, new, tmp_path / 'out', held_out=True)
    assert everything.rows == 6 and everything.held_out == 0 and '4 rows' in everything.notes[0]


def test_classes_are_measured_by_a_table_and_by_folders(classifier, image_root, tmp_path):
    out, labels = tmp_path / 'out', tmp_path / 'labels.csv'
    paths = sorted(map(str, image_root.rglob('*.jpg')))
    true = {path: 'cat' if int(path[-7:-4]) % 3 else 'dog' for path in paths}
    labels.write_text('\n'.join(['file,label', *(f'{path},{name}' for path, name in true.items())]))
    found = run(classifier, image_root, out, labels=str(labels)).measures
    said = {row['file']: row['class'] for row in table(out)}
    right = [said[path] == true[path] for path in paths]
    recall = {name: np.mean([said[p] == name for p in paths if true[p] == name]) for name in ('cat', 'dog')}
    assert found.images == 64
    assert found.values['accuracy'] == pytest.approx(100 * np.mean(right), abs=0.01)
    assert found.values['balanced accuracy'] == pytest.approx(100 * np.mean(list(recall.values())), abs=0.01)
    assert [row['recall'] for row in found.per_class] == pytest.approx(
        [100 * recall[n] for n in ('cat', 'dog')], abs=0.01
    )
    low, high = found.interval
    assert low <= found.values['accuracy'] <= high

    folders = tmp_path / 'folders'
    for path in paths[:10]:
        (folders / true[path]).mkdir(parents=True, exist_ok=True)
        os.symlink(path, folders / true[path] / os.path.basename(path))
    some = run(classifier, image_root, out, labels=str(folders)).measures
    assert some.images == 10 and '10 of the 64 images have a label' in some.notes
    assert some.values['accuracy'] == pytest.approx(100 * np.mean(right[:10]), abs=0.01)


def test_images_that_were_fitted_on_measure_nothing(classifier, photos, tmp_path):
    folder = tmp_path / 'model'
    shutil.copytree(classifier, folder)
    paths = sorted(map(str, photos.rglob('*.jpg')))[:-1]
    LabelSplit(['cat', 'dog'], [(p, 0) for p in paths[:8]], [], [(p, 0) for p in paths[8:10]], '', '', 'x').write(
        str(folder)
    )
    labels = tmp_path / 'labels.csv'
    labels.write_text('\n'.join(['file,label', *(f'{path},cat' for path in paths)]))
    found = run(folder, photos, tmp_path / 'out', labels=str(labels)).measures
    assert found.images == 3 and any('8 of the 11 labelled images were fitted on' in note for note in found.notes)
    labels.write_text('\n'.join(['file,label', *(f'{path},cat' for path in paths[:8])]))
    alone = run(folder, photos, tmp_path / 'out', labels=str(labels)).measures
    assert alone.images == 8 and any('say nothing of other images' in note for note in alone.notes)


def test_images_that_chose_the_model_measure_only_where_no_others_do(classifier, photos, tmp_path):
    folder = tmp_path / 'model'
    shutil.copytree(classifier, folder)
    paths = sorted(map(str, photos.rglob('*.jpg')))[:-1]
    parts = [[(path, 0) for path in part] for part in (paths[:4], paths[4:7], paths[7:9])]
    LabelSplit(['cat', 'dog'], *parts, '', '', 'x').write(str(folder))
    labels = tmp_path / 'labels.csv'

    def measured(some):
        labels.write_text('\n'.join(['file,label', *(f'{path},cat' for path in some)]))
        return run(folder, photos, tmp_path / 'out', labels=str(labels)).measures

    found = measured(paths)
    assert found.images == 4 and any('3 of the 11 labelled images were what' in note for note in found.notes)
    chosen = measured(paths[:7])
    assert chosen.images == 3 and any('4 of the 7 labelled images were fitted on' in note for note in chosen.notes)
    assert any('3 of the 7 labelled images chose the model' in note for note in chosen.notes)


@pytest.mark.parametrize('stage', ['frozen', 'last-blocks', 'full'])
@pytest.mark.parametrize('file', [True, False])
def test_a_stage_has_the_split_of_its_folder(classifier, photos, tmp_path, stage, file):
    folder = tmp_path / 'model' / stage
    shutil.copytree(classifier, folder)
    paths = sorted(map(str, photos.rglob('*.jpg')))[:3]
    split = LabelSplit(['cat', 'dog'], [(paths[0], 0)], [(paths[1], 0)], [(paths[2], 0)], '', str(photos), 'x')
    split.write(str(tmp_path / 'model'))
    assert run(folder / 'model.pth' if file else folder, photos, tmp_path / 'out').held_out == 2


def test_a_classifier_without_a_split_says_so(classifier, photos, tmp_path):
    (tmp_path / 'labels.json').write_text('not of this model')
    shutil.copytree(classifier, tmp_path / 'other')
    found = run(tmp_path / 'other', photos, tmp_path / 'out')
    assert found.held_out == 0 and 'no labels.json' in found.notes[0]


def test_labels_are_added_to_a_call_that_has_ended(segmentor, mask_data, tmp_path):
    photos, masks = mask_data / 'images/validation', mask_data / 'annotations/validation'
    run(segmentor, photos, tmp_path / 'out')
    calls = count_calls(Predictor, 'results')
    found = run(segmentor, photos, tmp_path / 'out', labels=str(masks))
    calls.undo()
    assert found.measures.images == 4 and calls.count == 0


def test_several_labels(image_root, photos, tmp_path):
    model = make_classifier(tmp_path / 'model', image_root, multi_label=True)
    paths = sorted(map(str, photos.rglob('*.jpg')))[:-1]
    labels = tmp_path / 'labels.csv'
    true = {path: ('cat;dog', 'cat', 'dog')[i % 3] for i, path in enumerate(paths)}
    labels.write_text('\n'.join(['file,labels', *(f'{path},{name}' for path, name in true.items())]))
    found = run(model, photos, tmp_path / 'out', labels=str(labels), threshold=0.4)
    one = mmmim.load(model)
    for row in table(tmp_path / 'out'):
        names = one.predict(row['file'], threshold=0.4).names
        assert [name for name in row['labels'].split(';') if name] == names
    from sklearn.metrics import average_precision_score

    scores = [one.predict(path, threshold=0.0) for path in paths]
    aps = [
        average_precision_score(
            [name in true[path] for path in paths], [dict(zip(s.names, s.probabilities))[name] for s in scores]
        )
        for name in ('cat', 'dog')
    ]
    assert found.measures.values['mAP'] == pytest.approx(100 * np.mean(aps), abs=1.5)  # of ties: sorts differ


def test_several_labels_in_columns(image_root, photos, tmp_path):
    """As they are trained on; an image of zeros has a label: none of the classes."""
    model = make_classifier(tmp_path / 'model', image_root, multi_label=True)
    names = [f'class{k}/00{i}.jpg' for k in (0, 1) for i in range(5)]
    rows = [('1,1', '1,0', '0,0')[i % 3] for i in range(len(names))]
    labels, cells = tmp_path / 'columns.csv', tmp_path / 'cells.csv'
    labels.write_text('\n'.join(['file,cat,dog', *map(','.join, zip(names, rows))]))
    cells.write_text(
        'file,labels\n'
        + '\n'.join(f'{n},{dict(zip(("1,1", "1,0"), ("cat|dog", "cat"))).get(r, "")}' for n, r in zip(names, rows))
    )
    found = run(model, photos, tmp_path / 'out', labels=str(labels)).measures
    assert found.images == 10 and [row['images'] for row in found.per_class] == [7, 4]
    some = run(model, photos, tmp_path / 'out', labels=str(cells)).measures
    assert some.images == 7 and [row['images'] for row in some.per_class] == [7, 4]


def test_a_stopped_call_goes_on_and_says_the_same(classifier, image_root, tmp_path, monkeypatch):
    whole = run(classifier, image_root, tmp_path / 'whole', batch_size=8)
    records = Predictor.results
    calls = []

    def stop_at_third(self, samples, options):
        calls.append(len(samples))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return records(self, samples, options)

    monkeypatch.setattr(Predictor, 'results', stop_at_third)
    with pytest.raises(KeyboardInterrupt, match='stopped after 16 of 64 images: the same call goes on'):
        run(classifier, image_root, tmp_path / 'out', batch_size=8)
    assert not (tmp_path / 'out/predictions.csv').exists()
    found = run(classifier, image_root, tmp_path / 'out', batch_size=8)
    assert sum(calls[3:]) == 48  # nothing twice
    assert (tmp_path / 'out/predictions.csv').read_text() == (tmp_path / 'whole/predictions.csv').read_text()
    assert found._replace(out='', table='', page='') == whole._replace(out='', table='', page='')


def test_a_killed_writer_leaves_whole_parts(tmp_path):
    """A part that follows no other one, and half of a file, count for nothing."""
    parts = Parts(str(tmp_path), dict(a=1))
    parts.add([dict(place=0), dict(place=1)])
    parts.flush()
    parts.add([dict(place=2)])  # never written
    folder = tmp_path / 'parts'
    (folder / '0000000005-0000000006.jsonl').write_text('{"place": 5}\n')
    again = Parts(str(tmp_path), dict(a=1))
    assert again.done == 2 and [found['place'] for found in again] == [0, 1]
    assert len(list(folder.iterdir())) == 1


def test_temporaries_of_a_killed_writer_are_removed(tmp_path):
    """Of parts, and of masks and overlays in folders below theirs; nothing else."""
    host = socket.gethostname()
    for folder in ('parts', 'masks/deep/er', 'overlays', 'other'):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f'.a.png.{host}.{os.getpid()}.tmp').write_text('half')
        (tmp_path / folder / 'b.png').write_text('whole')
    (tmp_path / 'call.json').write_text('{"a": 1}')
    Parts(str(tmp_path), dict(a=1))
    assert [path.parent.name for path in tmp_path.rglob('.*.tmp')] == ['other']
    assert len(list(tmp_path.rglob('b.png'))) == 4


@pytest.mark.runs
def test_a_killed_call_goes_on(classifier, image_root, tmp_path):
    """SIGKILL in the third batch, in a process of its own."""
    code = f"""
import os, signal
from mmmim.apis.predicting import parts
from mmmim.apis.predicting.predictor import Predictor
import mmmim
parts.SECONDS, before, calls = 0, Predictor.results, []
def results(self, *args):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return before(self, *args)
Predictor.results = results
mmmim.predict({classifier!r}, {str(image_root)!r}, {str(tmp_path / 'out')!r}, batch_size=8, num_workers=0)
"""
    done = python('-c', code, toolbox='mmpretrain')
    assert done.returncode in (-9, 137), done.stderr[-2000:]
    assert len(list((tmp_path / 'out/parts').glob('*.jsonl'))) == 2
    calls = count_calls(Predictor, 'results')
    found = run(classifier, image_root, tmp_path / 'out', batch_size=8)
    calls.undo()
    assert calls.count == 6 and found.rows == 64
    run(classifier, image_root, tmp_path / 'whole', batch_size=8)
    assert (tmp_path / 'out/predictions.csv').read_text() == (tmp_path / 'whole/predictions.csv').read_text()


def test_a_full_disk_loses_nothing_that_was_written(classifier, photos, tmp_path, monkeypatch):
    from mmmim.apis.predicting import parts

    write_part, count = parts.atomic_write_bytes, []
    monkeypatch.setattr(parts, 'IMAGES', 4)

    def full(data, path):
        count.append(path)
        if len(count) in (2, 3):
            raise CheckpointWriteError('No space left on device')
        write_part(data, path)

    monkeypatch.setattr(parts, 'atomic_write_bytes', full)
    with pytest.raises(CheckpointWriteError, match='No space'):
        run(classifier, photos, tmp_path / 'out', batch_size=4)
    assert len(list((tmp_path / 'out/parts').iterdir())) == 1
    assert run(classifier, photos, tmp_path / 'out', batch_size=4).images == 11


def test_a_model_that_fails_loses_nothing_that_was_finished(classifier, photos, tmp_path, monkeypatch):
    before, calls = Predictor.results, []

    def fail(self, *args):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError('out of memory')
        return before(self, *args)

    monkeypatch.setattr(Predictor, 'results', fail)
    with pytest.raises(RuntimeError, match='out of memory'):
        run(classifier, photos, tmp_path / 'out', batch_size=4)
    assert Parts(str(tmp_path / 'out'), json.loads((tmp_path / 'out/call.json').read_text())).done == 4


def test_another_call_does_not_mix_with_the_first(classifier, photos, tmp_path):
    run(classifier, photos, tmp_path / 'out')
    with pytest.raises(ValueError, match=r'threshold was 0.5 and is 0.3.*another --out'):
        run(classifier, photos, tmp_path / 'out', threshold=0.3)
    shutil.copy(photos / 'class0/000.jpg', photos / 'new.jpg')
    with pytest.raises(ValueError, match='images was .12 below'):
        run(classifier, photos, tmp_path / 'out')
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/predictions.csv').write_text('mine')
    with pytest.raises(ValueError, match='not of this command'):
        run(classifier, photos, tmp_path / 'mine')
    assert (tmp_path / 'mine/predictions.csv').read_text() == 'mine'


def test_predictions_inside_of_the_photos_are_no_photos(segmentor, mask_data, tmp_path):
    photos = tmp_path / 'photos'
    shutil.copytree(mask_data / 'images/validation', photos)
    first = run(segmentor, photos, photos / 'predictions')
    again = run(segmentor, photos, photos / 'predictions')
    assert first.images == again.images == 4
    assert len(read_data(str(photos)).train.names) == 4  # nor for anybody else


def test_index_masks_have_the_names_of_the_images(segmentor, mask_data, tmp_path):
    out, photos = tmp_path / 'out', tmp_path / 'photos'
    (photos / 'deep').mkdir(parents=True)
    sources = sorted((mask_data / 'images/validation').iterdir())
    shutil.copy(sources[0], photos / 'deep/a.png')
    Image.open(sources[1]).save(photos / 'b.png')
    Image.open(sources[1]).resize((50, 30)).save(photos / 'b.jpg')  # another image of the same stem
    found = run(segmentor, photos, out)
    names = {str(path.relative_to(out / 'masks')) for path in (out / 'masks').rglob('*.png')}
    assert names == {'deep/a.png', 'b.png.png', 'b.jpg.png'} and found.rows == 3
    model = mmmim.load(segmentor)
    for row in table(out):
        with Image.open(out / row['mask']) as mask, Image.open(row['file']) as image:
            assert mask.size == image.size and mask.mode == 'L'
            assert (np.asarray(mask) == model.predict(row['file']).mask).mean() > 0.99
    assert len(list((out / 'overlays').rglob('*.jpg'))) == 3
    assert not (tmp_path / 'none/overlays').exists()
    run(segmentor, photos, tmp_path / 'none', overlays=False)
    assert not (tmp_path / 'none/overlays').exists()


def test_masks_are_measured_as_mmseg_measures_them(segmentor, mask_data, tmp_path):
    out, images, masks = tmp_path / 'out', mask_data / 'images/validation', mask_data / 'annotations/validation'
    found = run(segmentor, images, out, labels=str(masks)).measures
    predicted = np.stack([np.asarray(Image.open(out / 'masks' / path.name)) for path in sorted(masks.iterdir())])
    true = np.stack([np.asarray(Image.open(path)) for path in sorted(masks.iterdir())])
    ious = [100 * ((predicted == k) & (true == k)).sum() / ((predicted == k) | (true == k)).sum() for k in range(3)]
    assert found.images == 4 and found.values['mIoU'] == pytest.approx(np.mean(ious), abs=0.01)
    assert found.values['pixel accuracy'] == pytest.approx(100 * (predicted == true).mean(), abs=0.01)
    assert [row['IoU'] for row in found.per_class] == pytest.approx(ious, abs=0.01)


def test_masks_of_another_size_are_refused_before_work(segmentor, mask_data, tmp_path):
    masks = tmp_path / 'masks'
    masks.mkdir()
    Image.new('L', (31, 32)).save(masks / '000.png')
    with pytest.raises(ValueError, match=r'000.png has 31 x 32 pixels, and its image 000.png 32 x 32'):
        run(segmentor, mask_data / 'images/validation', tmp_path / 'out', labels=str(masks))
    assert not (tmp_path / 'out').exists()


def test_a_folder_by_tiles(segmentor, mask_data, tmp_path):
    data = mask_data / 'images/validation'
    run(segmentor, data, tmp_path / 'tiles', tile=20, overlap=4)
    run(segmentor, data, tmp_path / 'whole', tile=100)
    run(segmentor, data, tmp_path / 'plain')
    model = mmmim.load(segmentor)
    for name in ('000.png', '003.png'):
        masks = {kind: np.asarray(Image.open(tmp_path / kind / 'masks' / name)) for kind in ('tiles', 'whole', 'plain')}
        assert (masks['whole'] == masks['plain']).all()
        assert (masks['tiles'] == model.predict(data / name, tile=20, overlap=4).mask).mean() > 0.99


def test_what_is_wrong_is_said_before_any_work(classifier, segmentor, photos, tmp_path):
    out = tmp_path / 'out'
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'file').write_text('')
    (tmp_path / 'masks').mkdir()
    Image.new('L', (4, 4)).save(tmp_path / 'masks/else.png')
    (tmp_path / 'other.csv').write_text('file,label\n/nowhere/a.jpg,cat\n/nowhere/b.jpg,dog\n')
    horse = tmp_path / 'horse.csv'
    horse.write_text('\n'.join(['file,label', *(f'{path},horse' for path in sorted(photos.rglob('*.jpg')))]))
    two = tmp_path / 'two.csv'
    path = next(iter(sorted(photos.rglob('*.jpg'))))
    two.write_text(f'file,label\n{path},cat\n{path},dog\n')
    alone = tmp_path / 'alone.pth'
    torch.save(dict(state_dict={}), alone)
    for error, message, call in (
        (FileNotFoundError, 'there is no', (tmp_path / 'absent', photos, {})),
        (FileNotFoundError, 'give it with config=', (alone, photos, {})),
        (FileNotFoundError, 'no images', (classifier, tmp_path / 'empty', {})),
        (FileNotFoundError, 'does not exist', (classifier, tmp_path / 'absent', {})),
        (FileNotFoundError, 'labels are a csv', (classifier, photos, dict(labels=str(tmp_path / 'absent.csv')))),
        (ValueError, 'names none of them', (classifier, photos, dict(labels=str(tmp_path / 'other.csv')))),
        (ValueError, "has not its classes, such as 'horse'", (classifier, photos, dict(labels=str(horse)))),
        (ValueError, 'several labels, cat, dog', (classifier, photos, dict(labels=str(two)))),
        (FileNotFoundError, 'folder of masks', (segmentor, photos, dict(labels=str(horse)))),
        (ValueError, 'has no mask of the', (segmentor, photos, dict(labels=str(tmp_path / 'masks')))),
        (ValueError, 'min_confidence=2', (classifier, photos, dict(min_confidence=2.0))),
        (ValueError, 'threshold=-1', (classifier, photos, dict(threshold=-1.0))),
        (ValueError, 'tile=5 is for segmentation', (classifier, photos, dict(tile=5))),
        (ValueError, 'tile=0', (segmentor, photos, dict(tile=0))),
        (ValueError, 'batch_size=0', (classifier, photos, dict(batch_size=0))),
    ):
        model, data, options = call
        with pytest.raises(error, match=re.escape(message)):
            run(model, data, out, **options)
        assert not out.exists()
    for place in (photos, tmp_path / 'file'):
        with pytest.raises(ValueError, match='out='):
            run(classifier, photos, place)


def test_no_image_that_can_be_read(classifier, tmp_path):
    (tmp_path / 'in').mkdir()
    for name in 'ab':
        (tmp_path / f'in/{name}.jpg').write_text('no image')
    with pytest.raises(ValueError, match='none of the 2 images can be read'):
        run(classifier, tmp_path / 'in', tmp_path / 'out')


def test_a_list_a_tar_and_workers(classifier, photos, tmp_path):
    import tarfile

    files = sorted(photos.rglob('*.jpg'))[:5]
    (tmp_path / 'list.txt').write_text('\n'.join(map(str, files)))
    with tarfile.open(tmp_path / 'some.tar', 'w') as tar:
        for file in files:
            tar.add(file, file.name)
    alone = run(classifier, tmp_path / 'list.txt', tmp_path / 'a')
    tar = run(classifier, tmp_path / 'some.tar', tmp_path / 'b')
    workers = mmmim.predict(classifier, str(tmp_path / 'list.txt'), str(tmp_path / 'c'), num_workers=2, batch_size=2)
    rows = [[(r['class'], r['probability']) for r in table(tmp_path / out)] for out in 'abc']
    assert alone.rows == tar.rows == workers.rows == 5 and rows[0] == rows[1] == rows[2]


def test_overlays_of_large_images_are_smaller():
    image, mask = np.zeros((300, 200, 3), np.uint8), np.zeros((300, 200), np.uint8)
    mask[:, 100:] = 1
    drawn = overlay(image, mask, ['a', 'b'], 60)
    assert drawn.shape == (60, 40, 3)
    assert (drawn[:, :20] == drawn[0, 0]).all() and (drawn[:, 20:] == drawn[0, 39]).all()
    assert (drawn[0, 0] != drawn[0, 39]).any()


def test_two_images_never_share_a_file():
    names = Names(['a/1.jpg', 'a/1.png', 'b/1.jpg', 'c'])
    assert [names.of(i, '.png') for i in range(4)] == ['a/1.jpg.png', 'a/1.png.png', 'b/1.png', 'c.png']


def test_the_command(classifier, photos, tmp_path, capsys):
    from mmmim.commands.predict import main

    main(['--model', classifier, '--data', str(photos), '--out', str(tmp_path / 'out'), '--workers', '0'])
    said = capsys.readouterr().out
    assert '11 images predicted, 11 rows in' in said and '1 images cannot be read' in said
    assert (tmp_path / 'out/predictions.html').exists()
