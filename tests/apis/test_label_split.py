"""Labelled images in three parts."""

import csv
import json
import os
import shutil
from collections import Counter
from types import SimpleNamespace

import pytest
from PIL import Image

from mmmim.apis.label_split import LabelSplit, some
from mmmim.apis.pretrain import find_labels
from mmmim.datasets import image_tables


def picture(path, colour=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (8, 8), (colour % 256, colour // 256 % 256, 9)).save(path, 'PNG')
    return path


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Three class folders of 60, 30 and 12 pictures, all different."""
    root = tmp_path_factory.mktemp('labels') / 'photos'
    for label, count in (('cat', 60), ('dog', 30), ('eel', 12)):
        for i in range(count):
            picture(root / label / f'{i:03d}.png', 100 * count + i)
    return root


def parts_of(split):
    return {path: part for part in ('fit', 'selection', 'report') for path, _ in getattr(split, part)}


def by_class(split, part):
    return Counter(split.classes[label] for _, label in getattr(split, part))


def write_csv(path, photos, header='file,label', delimiter=','):
    files = sorted(photos.rglob('*.png'))
    lines = [header] if header else []
    lines += [f'{file.relative_to(photos)}{delimiter}{file.parent.name}' for file in files]
    path.write_text('\n'.join(lines) + '\n')
    return path


# ----------------------------------------------------------------------------------------------------------- the draw


def test_every_image_is_in_one_part_and_each_class_in_all(photos):
    split = LabelSplit.of(str(photos))
    assert split.classes == ['cat', 'dog', 'eel'] and len(parts_of(split)) == len(split.images()) == 102
    for part, share in (('fit', 0.6), ('selection', 0.2), ('report', 0.2)):
        counts = by_class(split, part)
        assert set(counts) == {'cat', 'dog', 'eel'}
        assert abs(counts['cat'] - 60 * share) <= 10 and abs(counts['dog'] - 30 * share) <= 8


def test_shares_are_a_fifth_each_of_many(tmp_path):
    for i in range(1500):  # names are enough for the draw
        path = tmp_path / 'photos' / 'ab'[i % 2] / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    counts = LabelSplit.of(str(tmp_path / 'photos')).counts
    assert counts == {'fit': counts['fit'], 'selection': counts['selection'], 'report': counts['report'], 'classes': 2}
    assert abs(counts['selection'] - 300) < 50 and abs(counts['report'] - 300) < 50


def test_images_keep_their_part_when_others_are_added_and_the_folder_moves(photos, tmp_path):
    moved = shutil.copytree(photos, tmp_path / 'moved')
    before = parts_of(LabelSplit.of(str(photos)))
    for i in range(200):
        picture(moved / 'cat' / f'new{i}.png')
    picture(moved / 'fox' / 'a.png'), picture(moved / 'fox' / 'b.png'), picture(moved / 'fox' / 'c.png')
    after = parts_of(LabelSplit.of(str(moved)))
    assert len(after) == len(before) + 203
    assert all(after[path.replace(str(photos), str(moved))] == part for path, part in before.items())


def test_a_csv_of_the_same_names_is_split_alike(photos, tmp_path):
    csv = write_csv(tmp_path / 'labels.csv', photos)
    assert parts_of(LabelSplit.of(str(csv), str(photos))) == parts_of(LabelSplit.of(str(photos)))


def test_folders_that_are_a_split_are_taken_as_they_are(photos, tmp_path):
    root = tmp_path / 'data'
    shutil.copytree(photos, root / 'train'), shutil.copytree(photos, root / 'val')
    split = LabelSplit.of(str(root))
    assert split.counts['report'] == 102 and all('/val/' in file for file, _ in split.report)
    assert all('/train/' in file for file, _ in [*split.fit, *split.selection]) and 5 < split.counts['selection'] < 40
    assert 'val/ is the report part' in split.note
    shutil.copytree(photos, root / 'test')
    split = LabelSplit.of(str(root))
    assert all('/test/' in file for file, _ in split.report) and all('/val/' in file for file, _ in split.selection)
    assert split.counts['fit'] == 102


def test_a_test_folder_without_classes_is_not_the_report_part(photos, tmp_path):
    root = tmp_path / 'data'
    shutil.copytree(photos, root / 'train')
    picture(root / 'test' / 'a.png')
    split = LabelSplit.of(str(root))
    assert len(split.images()) == 102 and len(split.report) > 5 and '1 images in no class folder' in split.note


def test_small_classes_have_an_image_in_each_part_and_smaller_ones_are_left_out(photos, tmp_path):
    root = shutil.copytree(photos, tmp_path / 'photos')
    for i in range(3):
        picture(root / 'fox' / f'{i}.png')
    picture(root / 'gnu' / '0.png'), picture(root / 'gnu' / '1.png')
    split = LabelSplit.of(str(root))
    assert split.classes == ['cat', 'dog', 'eel', 'fox']
    assert all(by_class(split, part)['fox'] == 1 for part in ('fit', 'selection', 'report'))
    assert '1 classes with fewer than 3 images to split are left out, 2 images: gnu' in split.note


def test_at_most_so_many_to_fit_on_and_no_class_is_lost(photos, monkeypatch):
    monkeypatch.setattr('mmmim.apis.label_split.LIMIT', 20)
    split = LabelSplit.of(str(photos))
    assert split.counts['fit'] == 20 and set(by_class(split, 'fit')) == {'cat', 'dog', 'eel'}
    assert 'images of the fit part 20 are drawn' in split.note


def test_few_labels_a_class_by_draws(photos):
    split = LabelSplit.of(str(photos))
    draws = [split.few(8, draw) for draw in range(3)]
    for places in draws:
        counts = Counter(split.fit[place][1] for place in places)
        assert counts == {0: 8, 1: 8, 2: min(8, by_class(split, 'fit')['eel'])}
    assert draws[0] == split.few(8, 0) and draws[0] != draws[1] != draws[2]
    assert split.few(1000, 0) == list(range(len(split.fit)))


# ------------------------------------------------------------------------------------------------------------ csv files


@pytest.mark.parametrize('delimiter', [',', ';', '\t', '|', ' '])
@pytest.mark.parametrize('header', ['', 'file{}label', 'photo{}kind', '\ufeffImage{}Class'])
def test_any_delimiter_with_and_without_header(photos, tmp_path, delimiter, header):
    csv = write_csv(tmp_path / 'labels.csv', photos, header.format(delimiter), delimiter)
    split = LabelSplit.of(str(csv), str(photos))
    assert split.classes == ['cat', 'dog', 'eel'] and len(split.images()) == 102


def test_columns_are_found_by_their_names(photos, tmp_path):
    files = sorted(photos.rglob('*.png'))
    rows = [f'{i},{file.parent.name},2020,{file}' for i, file in enumerate(files)]
    (tmp_path / 'a.csv').write_text('\n'.join(['id,class,year,path', *rows]))
    split = LabelSplit.of(str(tmp_path / 'a.csv'))
    assert len(split.images()) == 102 and split.classes == ['cat', 'dog', 'eel']
    (tmp_path / 'b.csv').write_text('\n'.join(['no,what,year,where', *rows]))
    with pytest.raises(ValueError, match='Name them file and label'):
        LabelSplit.of(str(tmp_path / 'b.csv'))


def test_stems_and_names_in_subfolders_where_only_one_fits(tmp_path):
    for i in range(10):
        picture(tmp_path / 'x' / f'{"ab"[i % 2]} {i}.png')
    lines = [f'{"ab"[i % 2]} {i},{i % 2}' for i in range(10)]
    (tmp_path / 'l.csv').write_text('\n'.join(['file,label', *lines]))
    split = LabelSplit.of(str(tmp_path / 'l.csv'))
    assert split.classes == ['0', '1'] and len(split.images()) == 10
    picture(tmp_path / 'y' / 'a 0.png')
    with pytest.raises(ValueError, match="'a 0' may be .* or .*: give the path"):
        LabelSplit.of(str(tmp_path / 'l.csv'))


def test_numbers_are_in_their_order_and_cells_without_label_are_left_out(tmp_path):
    lines = [f'{picture(tmp_path / f"{i}.png").name};{[2, 10][i % 2] if i < 10 else ""}' for i in range(13)]
    (tmp_path / 'l.csv').write_text('\n'.join(lines))
    split = LabelSplit.of(str(tmp_path / 'l.csv'))
    assert split.classes == ['2', '10'] and len(split.images()) == 10 and '3 images without a label' in split.note


def lines_of(tmp_path, count=8, classes=2):
    return [f'{picture(tmp_path / f"{i}.png").name},c{i % classes}' for i in range(count)]


@pytest.mark.parametrize(
    'make, error, message',
    [
        (lambda path: [], ValueError, 'is empty'),
        (lambda path: ['one', 'two'], ValueError, 'is no table'),
        (lambda path: ['a,b,c', 'a,b'], ValueError, 'is no table'),
        (
            lambda path: [*lines_of(path), 'gone.png,c0', 'lost.png,c1'],
            FileNotFoundError,
            '2 of the 10 images .* gone.png, lost.png',
        ),
        (lambda path: lines_of(path, classes=1), ValueError, 'has 1 class with at least 3 images .*c0: 8'),
        (lambda path: lines_of(path, classes=8), ValueError, '8 labelled images of 8 classes'),
        (lambda path: lines_of(path, 5, 3), ValueError, 'has 0 classes with at least 3'),
        (lambda path: [*lines_of(path), '0.png,c1'], ValueError, "two labels, 'c0' and 'c1'"),
        (lambda path: [f'{line[:5]},' for line in lines_of(path)], ValueError, 'names no image with a label'),
    ],
)
def test_bad_files_are_named_with_what_to_do(tmp_path, make, error, message):
    path = tmp_path / 'labels.csv'
    path.write_text('\n'.join(make(tmp_path)))
    with pytest.raises(error, match=message):
        LabelSplit.of(str(path))


def test_bad_sources_are_named(photos, tmp_path):
    with pytest.raises(FileNotFoundError, match='labels are a csv file'):
        LabelSplit.of(str(tmp_path / 'gone'))
    with pytest.raises(ValueError, match='no class folders with images'):
        LabelSplit.of(str(photos / 'cat'))
    (tmp_path / 'binary.csv').write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match='cannot be read as text'):
        LabelSplit.of(str(tmp_path / 'binary.csv'))
    csv = write_csv(tmp_path / 'labels.csv', photos)
    with pytest.raises(FileNotFoundError, match='no folder'):
        LabelSplit.of(str(csv), str(tmp_path / 'nowhere'))
    for label in 'abcdef':
        (tmp_path / 'empty' / label).mkdir(parents=True)
    for i in range(4):
        picture(tmp_path / 'empty' / 'ab'[i % 2] / f'{i}.png')
    with pytest.raises(ValueError, match='4 labelled images of 6 classes'):
        LabelSplit.of(str(tmp_path / 'empty'))


# ------------------------------------------------------------------------------------------------------ kept with a run


def test_a_run_keeps_its_split_and_says_when_labels_have_changed(photos, tmp_path):
    root, run = shutil.copytree(photos, tmp_path / 'photos'), str(tmp_path / 'run')
    first = LabelSplit.kept(run, str(root))
    assert LabelSplit.kept(run, str(root)) == LabelSplit.read(run) == first
    stored = json.loads((tmp_path / 'run/labels.json').read_text())
    assert stored['fit'][0] == list(first.fit[0]) and stored['source'] == str(root)
    # the file counts, not what would be drawn now
    stored['fit'], stored['report'] = stored['report'], stored['fit']
    (tmp_path / 'run/labels.json').write_text(json.dumps(stored))
    assert LabelSplit.kept(run, str(root)).report == first.fit
    shutil.move(root, tmp_path / 'elsewhere')
    assert LabelSplit.kept(run, str(tmp_path / 'elsewhere')).fit[0][0].startswith(str(tmp_path / 'elsewhere'))
    picture(tmp_path / 'elsewhere' / 'cat' / 'new.png')
    with pytest.raises(ValueError, match='has changed since the split in .* was made.*remove that file'):
        LabelSplit.kept(run, str(tmp_path / 'elsewhere'))
    csv = write_csv(tmp_path / 'labels.csv', photos / 'cat')
    csv.write_text(csv.read_text().replace('1.png,cat', '1.png,lion'))
    with pytest.raises(ValueError, match='is not .*elsewhere, of which the split'):
        LabelSplit.kept(run, str(csv), str(photos / 'cat'))


def test_where_the_files_of_a_csv_are_is_kept_with_the_split(photos, tmp_path):
    """The same names below another folder would be other images to the draw."""
    root = shutil.copytree(photos, tmp_path / 'photos')
    csv, run = tmp_path / 'labels.csv', str(tmp_path / 'run')
    csv.write_text(''.join(f'{file.relative_to(tmp_path)},{file.parent.name}\n' for file in root.rglob('*.png')))
    first = LabelSplit.kept(run, str(csv), str(root))
    assert json.loads((tmp_path / 'run/labels.json').read_text())['data'] == str(root)
    assert LabelSplit.kept(run, str(csv)) == first
    with pytest.raises(ValueError, match='has changed since'):  # another folder is another source, still
        LabelSplit.kept(run, str(csv), str(tmp_path))
    stored = json.loads((tmp_path / 'run/labels.json').read_text())
    del stored['data']  # of an earlier version
    (tmp_path / 'run/labels.json').write_text(json.dumps(stored))
    assert LabelSplit.read(run).data is None


def test_a_damaged_or_absent_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='has no labels.json: give labels'):
        LabelSplit.read(str(tmp_path))
    (tmp_path / 'labels.json').write_text('{"classes": []}')
    with pytest.raises(ValueError, match='is damaged .*: remove it'):
        LabelSplit.read(str(tmp_path))


def test_images_that_pre_training_sees_are_found_by_place_and_by_content(photos, tmp_path):
    split = LabelSplit.of(str(photos))
    report, selection, fit = (getattr(split, part)[0][0] for part in ('report', 'selection', 'fit'))
    (tmp_path / 'link.png').symlink_to(report)
    copy = shutil.copy(selection, str(tmp_path / 'copy.png'))
    other = picture(tmp_path / 'other.png', 7)
    seen = split.seen_in([str(tmp_path / 'link.png'), copy, fit, str(other), str(tmp_path / 'gone.png')])
    assert sorted(seen.measured) == sorted([report, selection]) and split.seen == 2
    assert dict(zip(seen.measured, seen.trained)) == {report: str(tmp_path / 'link.png'), selection: copy}
    assert seen.note.startswith(f'2 of the {len(split.selection) + len(split.report)} images that measure')
    assert split.seen_in([fit]).note == '' and split.seen == 0


def test_a_few_and_some_are_the_same_each_time(photos):
    split = LabelSplit.of(str(photos))
    for part, pairs in (('fit', split.fit), ('selection', split.selection)):
        places = split.few(3, 0, part)
        drawn = Counter(pairs[place][1] for place in places)
        assert {label: min(3, n) for label, n in Counter(label for _, label in pairs).items()} == drawn
        assert places == sorted(split.few(3, 0, part)) and places != split.few(3, 1, part)
    assert split.few(3, 0) == split.few(3, 0, 'fit')
    assert some(split.fit, None) == some(split.fit, 1000) == split.fit
    assert some(split.fit, 7) == some(split.fit, 7) and len(set(some(split.fit, 7))) == 7


# ------------------------------------------------------------------------------------------------------ names and parts

ODD = [' a.png', 'a.png ', 'a\nb.png', 'a,b.png', '"q".png', '#1.png', '-n.png', 'a\\b.png', 'img 3.png', b'x\xff.png']


def test_names_of_any_characters_in_a_csv(tmp_path):
    names = [os.fsdecode(name) for name in ODD]
    rows = []
    for place, name in enumerate([*names, *(f'{i}.png' for i in range(10))]):
        picture(tmp_path / name, place)
        rows.append([name, 'ab'[place % 2]])
    with open(tmp_path / 'labels.csv', 'w', newline='', errors='surrogateescape') as file:
        csv.writer(file).writerows([['file', 'label'], *rows])
    split = LabelSplit.of(str(tmp_path / 'labels.csv'))
    assert {os.path.basename(path) for path, _ in split.images()} == {name for name, _ in rows}
    split.write(str(tmp_path))
    assert LabelSplit.read(str(tmp_path)).images() == split.images()


def test_parts_of_label_folders_have_any_usual_names(tmp_path):
    for part, start in (('Training', 0), ('Valid', 20), ('TEST', 40)):
        for label in 'ab':
            for i in range(5):
                picture(tmp_path / 'data' / part / label / f'{i}.png', 100 * start + i)
    split = LabelSplit.of(str(tmp_path))
    parts = {part: {path.split('/')[-3] for path, _ in getattr(split, part)} for part in ('fit', 'selection', 'report')}
    assert parts == {'fit': {'Training'}, 'selection': {'Valid'}, 'report': {'TEST'}}


def test_images_without_a_common_folder_do_not_make_names_be_looked_for_everywhere(photos, tmp_path, monkeypatch):
    listed = []
    real = image_tables.list_images
    monkeypatch.setattr(image_tables, 'list_images', lambda root, *rest: listed.append(root) or real(root, *rest))
    csv_path = write_csv(tmp_path / 'labels.csv', photos)
    shutil.copytree(photos, tmp_path, dirs_exist_ok=True)
    csv_path.write_text(csv_path.read_text().replace('.png', ''))  # stems, which are looked for
    split = SimpleNamespace(folder='/a, /b', roots=['/', '/'], files=[['1.png'], ['1.png']])
    found = find_labels(split, str(csv_path), str(tmp_path), False)
    assert len(found.images()) == 102 and set(listed) == {str(tmp_path)}
