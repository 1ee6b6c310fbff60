"""What `data` may be: lists, tables, tars, several of them."""

import csv
import io
import json
import os
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from mmmim.apis.folder_split import FolderSplit
from mmmim.apis.label_split import LabelSplit
from mmmim.datasets import ImageFolder, ImageReadError, LoadImage, PackImage, Resize
from mmmim.datasets.inputs import all_images, read_data
from mmmim.datasets.io import tar_files
from mmmim.datasets.io.image_io import ImageSource
from mmmim.visualization.images import find_images


@pytest.fixture(autouse=True)
def user_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))


def encoded(value=0):
    """A PNG of one colour."""
    stream = io.BytesIO()
    Image.new('RGB', (6, 5), (value, 0, 0)).save(stream, 'PNG')
    return stream.getvalue()


def fill(root, *names):
    for value, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(value))


def write_tar(path, files, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, 'w', **options) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def values_of(split):
    """Red values of the pixels of both parts, read through the lists that a config names."""
    paths = [split.write_lists(str(split.out))[part] for part in (0, 1)]
    found = []
    for root, path in zip(split.roots, paths):
        dataset = ImageFolder(root, ann_file=path, pipeline=[LoadImage(), Resize(4), PackImage()])
        dataset = pickle.loads(pickle.dumps(dataset))  # as a worker gets it
        found.append([int(dataset[i]['inputs'][0, 0, 0]) for i in range(len(dataset))])
    return found


def split_of(data, out, **options):
    split = FolderSplit(data, **options)
    split.out = out
    return split


# ----------------------------------------------------------------------------------------------------- lists and tables


def test_a_list_with_paths_of_every_kind(tmp_path):
    names = [f'photos/{i}.png' for i in range(10)]
    fill(tmp_path / 'a', *names)
    fill(tmp_path / 'b', 'x.png')
    lines = [*names, str(tmp_path / 'b/x.png'), '../b/x.png']
    (tmp_path / 'a/list.txt').write_text('\n'.join(lines))
    split = split_of(str(tmp_path / 'a/list.txt'), tmp_path / 'out')
    assert split.roots == [str(tmp_path)] * 2 and sorted(sum(split.files, [])) == sorted(
        [*(f'a/{name}' for name in names), 'b/x.png']
    )
    assert sorted(sum(values_of(split), [])) == sorted([*range(10), 0]) and not split.labelled
    assert any('1 lines repeat' in line for line in split.said)
    assert all_images(str(tmp_path / 'a/list.txt'))[1][-1] == 'b/x.png'
    assert find_images([str(tmp_path / 'a/list.txt')], 100)[1] == 11


def test_a_list_of_images_in_one_tar(tmp_path):
    write_tar(tmp_path / 'p.tar', {f'cat/{i}.png': encoded(i) for i in range(10)})
    (tmp_path / 'list.txt').write_text('\n'.join(f'p.tar/cat/{i}.png' for i in range(10)))
    split = split_of(str(tmp_path / 'list.txt'), tmp_path / 'out')
    assert split.roots == [str(tmp_path)] * 2 and sorted(sum(values_of(split), [])) == list(range(10))


def test_images_of_long_lists_are_looked_for_in_their_folders(tmp_path, monkeypatch):
    fill(tmp_path, 'a/1.png', 'b/c/2.png', 'b/3.png')
    (tmp_path / 'b/folder.png').mkdir()
    write_tar(tmp_path / 'p.tar', {'cat/1.png': encoded(), '2.png': encoded()})
    present = ['a/1.png', 'b/c/2.png', 'b//c/../3.png', 'p.tar/cat/1.png', 'p.tar/2.png']
    absent = ['a/4.png', 'nowhere/1.png', 'b/folder.png', 'p.tar/cat/2.png', 'p.tar/9.png', '']
    paths = [str(tmp_path / name) if name else '' for name in (*present, *absent)]
    paths[2] = f'{tmp_path}/b//c/../3.png'
    asked = []
    real = tar_files.image_exists
    monkeypatch.setattr(tar_files, 'image_exists', lambda path: asked.append(path) or real(path))
    assert tar_files.missing_images(paths, len(paths)) == tar_files.missing_images(paths) == list(range(5, 11))
    assert asked[:6] == paths[5:] and asked[6:] == paths  # a long list asks for those that no folder has


def test_a_pattern_that_finds_a_text_among_images_takes_it_for_no_list(tmp_path):
    fill(tmp_path / 'g', *(f'{i}.png' for i in range(4)))
    (tmp_path / 'g/notes.txt').write_text('from the attic\n')
    files, _ = find_images([str(tmp_path / 'g/*')], 100)
    assert [os.path.basename(file) for file in files] == ['0.png', '1.png', '2.png', '3.png', 'notes.txt']
    (tmp_path / 'list.txt').write_text('g/0.png\ng/1.png\n')
    assert find_images([str(tmp_path / '*.txt')], 100)[1] == 2


def test_labels_of_a_list_are_in_the_order_of_numbers(tmp_path):
    fill(tmp_path, *(f'{i}.png' for i in range(40)))
    (tmp_path / 'list.txt').write_text(''.join(f'{i}.png {i % 4 * 5}\n' for i in range(40)))
    split = FolderSplit(str(tmp_path / 'list.txt'))
    assert split.classes == ['0', '5', '10', '15'] and 'classes: 0, 5, 10, 15 (4 classes)' in split.said
    for files, labels in zip(split.files, split.labels):
        assert all(int(os.path.splitext(file)[0]) % 4 == label for file, label in zip(files, labels))


@pytest.mark.parametrize(
    'header, rows',
    [
        (['image', 'label'], [[f'p/{i}.png', 'ab'[i % 2]] for i in range(10)]),
        (['id', 'width', 'Filename', 'species'], [[i, 6, f'p/{i}.png', 'ab'[i % 2]] for i in range(10)]),
        (None, [[f'p/{i}.png', 'ab'[i % 2]] for i in range(10)]),
        (['which', 'where', 'class'], [[i, f'{i}', 'ab'[i % 2]] for i in range(10)]),  # a stem, without an ending
    ],
)
def test_a_table_with_a_column_of_files(tmp_path, header, rows):
    fill(tmp_path, *(f'p/{i}.png' for i in range(10)))
    with open(tmp_path / 'table.csv', 'w', newline='') as file:
        csv.writer(file).writerows([header, *rows] if header else rows)
    if header and header[0] == 'id':  # 'id' is a usual name of a column of files, too, but a later one
        assert read_data(str(tmp_path / 'table.csv')).train.names[3] == '3.png'
    split = split_of(str(tmp_path / 'table.csv'), tmp_path / 'out')
    assert split.classes == ['a', 'b'] and [len(files) for files in split.files] == [8, 2]
    for files, labels, values in zip(split.files, split.labels, values_of(split)):
        assert all(
            int(file[0]) % 2 == label and int(file[0]) == value for file, label, value in zip(files, labels, values)
        )


def test_a_table_of_names_alone_and_one_with_gaps(tmp_path):
    fill(tmp_path, *(f'{i}.png' for i in range(4)), 'a,b.png')
    (tmp_path / 'one.csv').write_text('path\n0.png\n1.png\n"a,b.png"\n')
    assert read_data(str(tmp_path / 'one.csv')).train.names == ['0.png', '1.png', 'a,b.png']
    (tmp_path / 'gaps.tsv').write_text('file\tlabel\n0.png\tcat\n1.png\t\n2.png\tdog\n')
    found = read_data(str(tmp_path / 'gaps.tsv'))
    assert found.train.classes is None and '1 rows have no label' in found.said[0]
    (tmp_path / 'scores.csv').write_text('file,target\n0.png,0.5\n1.png,0.25\n2.png,0.75\n')
    found = read_data(str(tmp_path / 'scores.csv'))
    assert found.train.classes is None and "a label of its own, such as '0.5'" in found.said[0]


@pytest.mark.parametrize(
    'name, text, error, message',
    [
        (
            'list.txt',
            'a.png\nno.png\nnot.png\n',
            FileNotFoundError,
            r"2 of the 3 .*\n  line 2: 'no.png'\n  line 3: 'not",
        ),
        ('list.txt', '\n\n', ValueError, 'is empty'),
        ('list.txt', 'a.png 1\nb.png\n', ValueError, "line 2: 'b.png' has no label"),
        ('table.csv', 'file,label\na.png,x\nno.png,y\n', FileNotFoundError, r"1 of the 2 .*\n  row 2: 'no.png'"),
        ('table.csv', 'width,height\n5,6\n7,8\n', ValueError, "they are 'width', 'height'. Name one of them file, "),
        ('table.csv', '', ValueError, 'is empty'),
        ('data.parquet', '', FileNotFoundError, 'docs/extend/dataset.md'),
        ('data.tar.gz', '', FileNotFoundError, 'unpack it, or make a plain .tar'),
        ('photo.png', '', FileNotFoundError, 'is a file; a folder of images is needed'),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, name, text, error, message):
    fill(tmp_path, 'a.png', 'b.png')
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=message):
        read_data(str(tmp_path / name))


@pytest.mark.parametrize('line', ['0.png cat', '0.png,cat', '0.png,3', '0.png\t3', '0.png -1', 'a b.png, cat'])
def test_labels_of_another_kind_in_a_list_are_said(tmp_path, line):
    fill(tmp_path, '0.png', 'a b.png')
    (tmp_path / 'list.txt').write_text(line)
    with pytest.raises(FileNotFoundError, match='labels in a list .* are numbers from 0 behind a blank.*csv'):
        read_data(str(tmp_path / 'list.txt'))
    (tmp_path / 'list.txt').write_text('missing.png cat')
    with pytest.raises(FileNotFoundError) as caught:
        read_data(str(tmp_path / 'list.txt'))
    assert 'behind a blank' not in str(caught.value)


def test_a_class_may_be_called_train(tmp_path):
    names = ('bus', 'car', 'train', 'truck')
    fill(tmp_path / 'photos', *(f'{name}/{i}.png' for name in names for i in range(4)))
    split = FolderSplit(str(tmp_path / 'photos'))
    assert split.classes == [*names] and len(sum(split.files, [])) == 16
    assert any(line.startswith('WARNING: train is taken for a class') for line in split.said)
    assert LabelSplit.of(str(tmp_path / 'photos')).classes == [*names]
    fill(tmp_path / 'photos', 'val/1.png')  # a split, with folders of something else
    assert FolderSplit(str(tmp_path / 'photos')).files[1] == ['1.png']
    fill(tmp_path / 'one', 'train/1.png', 'unlabeled/2.png')
    assert FolderSplit(str(tmp_path / 'one')).files[0] == ['1.png']


def test_several_sources(tmp_path):
    for year in ('2019', '2020'):
        fill(tmp_path / year, *(f'{name}/{i}.png' for name in ('cat', 'dog') for i in range(5)))
    split = FolderSplit([str(tmp_path / '2019'), str(tmp_path / '2020')])
    assert split.roots == [str(tmp_path)] * 2 and split.classes == ['cat', 'dog']
    assert [len(files) for files in split.files] == [16, 4]
    assert split.folder == f'{tmp_path}/2019, {tmp_path}/2020'
    twice = FolderSplit([str(tmp_path / '2019')] * 2)
    assert sum(map(len, twice.files)) == 10  # an image counts once
    fill(tmp_path / 'more/train', 'a.png')
    fill(tmp_path / 'more/val', 'b.png', 'c.png')
    split = FolderSplit([str(tmp_path / '2019'), str(tmp_path / 'more')])
    assert [len(files) for files in split.files] == [11, 2] and 'of 1 of 2 sources' in split.note


# ----------------------------------------------------------------------------------------------------------------- tars


def shards(root, count=2, each=10):
    """WebDataset shards with ``.cls`` files: image i has the value and the label i % 3."""
    for shard in range(count):
        files = {}
        for i in range(shard * each, (shard + 1) * each):
            files[f'{i:06d}.png'], files[f'{i:06d}.cls'] = encoded(i), str(i % 3).encode()
        write_tar(root / f'data-{shard:03d}.tar', files)
    return root


@pytest.mark.parametrize('name', ['', 'data-{000..001}.tar', 'data-*.tar'])
def test_shards_of_others_are_read_in_place(tmp_path, name):
    root = shards(tmp_path / 'shards')
    split = split_of(os.path.join(root, name), tmp_path / 'out')
    assert [len(files) for files in split.files] == [16, 4] and split.classes == ['0', '1', '2']
    values = values_of(split)
    assert sorted(values[0] + values[1]) == list(range(20))
    for part in (0, 1):
        assert [value % 3 for value in values[part]] == split.labels[part]
    assert find_images([str(root / 'data-000.tar')], 100)[1] == 10


@pytest.mark.parametrize('name', ['', 'data-*.tar'])
def test_labels_of_tars_in_three_parts(tmp_path, name):
    root = shards(tmp_path / 'shards', each=30)
    split = LabelSplit.of(os.path.join(root, name))
    assert split.classes == ['0', '1', '2'] and len(split.images()) == 60
    for path, label in split.images():
        assert ImageSource(path).read()[0, 0, 0] % 3 == label
    split.write(str(tmp_path))
    assert LabelSplit.kept(str(tmp_path), os.path.join(root, name)).images() == split.images()
    images = [path for path, _ in split.images()]
    assert len(split.seen_in(images).measured) == len(split.selection) + len(split.report)
    unlabelled = write_tar(tmp_path / 'plain.tar', {f'{i}.png': encoded(i) for i in range(9)})
    with pytest.raises(ValueError, match='has no labels: neither files such as 1.cls'):
        LabelSplit.of(str(unlabelled))


@pytest.mark.parametrize('prefix', ['', './', 'dataset/', './a/b/'])
def test_classes_and_parts_by_the_folders_in_a_tar(tmp_path, prefix):
    files = {f'{prefix}{label}/{i}.png': encoded(i) for label in ('cat', 'dog') for i in range(10)}
    split = split_of(str(write_tar(tmp_path / 'a.tar', files)), tmp_path / 'out')
    assert split.classes == ['cat', 'dog'] and [len(part) for part in split.files] == [16, 4]
    assert all(int(file.split('/')[-1][0]) == value for file, value in zip(split.files[0], values_of(split)[0]))
    parts = {f'{prefix}{part}/{label}/{i}.png': encoded() for part in ('Train', 'val') for label in 'ab' for i in '123'}
    split = FolderSplit(str(write_tar(tmp_path / 'b.tar', {**parts, f'{prefix}x/1.png': encoded()})))
    assert [len(part) for part in split.files] == [6, 6] and split.classes == ['a', 'b']
    assert any('not used: 1 images' in line for line in split.said)


def test_parts_are_tars_in_folders_or_with_a_word_for_it_in_their_name(tmp_path):
    images = {f'{label}/{i}.png': encoded(i) for i in range(3) for label in ('cat', 'dog')}
    for part in ('train', 'val'):
        write_tar(tmp_path / f'a/{part}/0.tar', {f'{part}/{name}': image for name, image in images.items()})
    for name in ('imagenet1k-train-0000', 'imagenet1k-train-0001', 'imagenet1k-validation-00', 'imagenet1k-test-0'):
        write_tar(tmp_path / f'b/{name}.tar', {name: image for name, image in images.items()})
    for data, count in (('a', 6), ('b', 12)):
        split = FolderSplit(str(tmp_path / data))
        assert [len(files) for files in split.files] == [count, 6] and split.classes == ['cat', 'dog']
        assert not set(map(os.path.join, [split.roots[0]] * count, split.files[0])) & set(
            map(os.path.join, [split.roots[1]] * 6, split.files[1])
        )
    assert 'not used: imagenet1k-test-0.tar' in split.said
    root, names, _ = all_images(str(tmp_path / 'a'))
    assert len(names) == 12 and all(name.startswith(('train/0.tar/', 'val/0.tar/')) for name in names)
    write_tar(tmp_path / 'c/deep/deeper/0.tar', images)
    with pytest.raises(FileNotFoundError, match='tar files are there: give the folder that they are in'):
        read_data(str(tmp_path / 'c'))


def test_tables_name_members_of_tars(tmp_path):
    names = [f'{i:04d}.png' for i in range(16)]
    write_tar(tmp_path / 'p.tar', {f'deep/{name}': encoded(i) for i, name in enumerate(names)})
    (tmp_path / 'cut.tar').write_bytes(b'1')
    rows = [f'{name},{"ab"[i % 2]}' for i, name in enumerate(names)]
    (tmp_path / 'whole.csv').write_text('\n'.join(['file,label', *(f'p.tar/deep/{row}' for row in rows)]))
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere/bare.csv').write_text('\n'.join(['file,label', *rows]))
    (tmp_path / 'whole.txt').write_text('\n'.join(f'p.tar/deep/{name} {i % 2}' for i, name in enumerate(names)))
    split = FolderSplit(str(tmp_path / 'whole.csv'))
    assert split.classes == ['a', 'b'] and len(sum(split.files, [])) == 16
    places = [str(tmp_path / 'p.tar/deep' / name) for name in names]
    for labels, data in (
        ('whole.csv', None),
        ('whole.txt', None),
        ('elsewhere/bare.csv', tmp_path),
        ('elsewhere/bare.csv', tmp_path / 'p.tar'),
    ):
        found = LabelSplit.of(str(tmp_path / labels), data and str(data))
        assert sorted(path for path, _ in found.images()) == places
    fill(tmp_path, *names)  # a file comes before a member of the same name
    found = LabelSplit.of(str(tmp_path / 'elsewhere/bare.csv'), str(tmp_path))
    assert sorted(path for path, _ in found.images()) == [str(tmp_path / name) for name in names]


@pytest.mark.parametrize('name', [' a.png', 'a\nb.png', 'a.png 7', 'é' * 90 + '.png', os.fsdecode(b'\xff.png')])
def test_members_of_any_name(tmp_path, name):
    name = name if name.endswith('.png') else f'{name}.png'
    tar = write_tar(tmp_path / 'odd.tar', {name: encoded(7), **{f'{i}.png': encoded(i) for i in range(9)}})
    split = split_of(str(tar), tmp_path / 'out')
    assert sorted(sum(values_of(split), [])) == sorted([7, *range(9)])


def test_labels_in_json_masks_and_hidden_members(tmp_path):
    files = {}
    for i in range(10):
        files[f'{i}.png'], files[f'{i}.json'] = encoded(i), json.dumps(dict(caption='x', label='ab'[i % 2])).encode()
        files[f'{i}.seg.png'], files[f'._{i}.png'] = encoded(0), b'resource fork'
    split = FolderSplit(str(write_tar(tmp_path / 'a.tar', files)))
    assert sum(map(len, split.files)) == 10 and split.classes == ['a', 'b']
    assert any('masks' in line for line in split.said)


def test_the_index_is_kept_and_made_anew_for_another_tar(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_files, '_CACHED_FROM', 2)
    path = write_tar(tmp_path / 'a.tar', {f'{i}.png': encoded(i) for i in range(3)})
    first = tar_files.tar_index(str(path))
    assert (tmp_path / '.a.tar.mmmim-members').is_file()
    tar_files._index.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(tar_files, '_scan', lambda *args: pytest.fail('gone through again'))
        again = tar_files.tar_index(str(path))
    assert again.names.tolist() == first.names.tolist() and np.array_equal(again.offset, first.offset)
    write_tar(path, {f'{i}.png': encoded(i) for i in range(5)})
    assert len(tar_files.tar_index(str(path)).names) == 5
    (tmp_path / '.a.tar.mmmim-members').write_bytes(b'damaged')
    tar_files._index.cache_clear()
    assert len(tar_files.tar_index(str(path)).names) == 5


@pytest.mark.parametrize(
    'damage, message',
    [
        (lambda content: content[:3000], 'is no whole tar'),
        (lambda content: content[: 2 * 1024], 'is no whole tar'),  # between two members
        (lambda content: b'hello', 'is no whole tar'),
        (lambda content: __import__('gzip').compress(content), 'is compressed'),
        (lambda content: __import__('lzma').compress(content), 'is compressed'),
    ],
)
def test_a_damaged_tar_is_said(tmp_path, damage, message):
    path = write_tar(tmp_path / 'a.tar', {f'{i}.png': encoded(i) for i in range(5)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        read_data(str(path))


def test_missing_tars_and_members_are_said(tmp_path):
    root = shards(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'2 of the 4 tars .* are missing: .*data-002.tar, .*data-003.tar'):
        read_data(str(root / 'data-{000..003}.tar'))
    with pytest.raises(FileNotFoundError, match='no images in empty.tar'):
        read_data(str(write_tar(tmp_path / 'e/empty.tar', {'a.txt': b''})))
    (tmp_path / 'list.txt').write_text('data-000.tar/000001.png\ndata-000.tar/no.png\n')
    with pytest.raises(FileNotFoundError, match="line 2: 'data-000.tar/no.png'"):
        read_data(str(tmp_path / 'list.txt'))
    with pytest.raises(ImageReadError, match='has no such image'):
        ImageSource(str(root / 'data-000.tar/no.png'))


def test_a_folder_that_is_called_like_a_tar(tmp_path):
    fill(tmp_path / 'a.tar', *(f'{i}.png' for i in range(3)))
    assert ImageSource(str(tmp_path / 'a.tar/2.png')).read()[0, 0, 0] == 2
    assert len(read_data(str(tmp_path / 'a.tar')).train.names) == 3
