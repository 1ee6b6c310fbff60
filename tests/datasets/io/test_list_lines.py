"""Names of any characters are written and read back as they are."""

import os
import random

import pytest

from mmmim.datasets import ImageFolder
from mmmim.datasets.io.list_lines import list_line, list_text, parse_line, read_list
from mmmim.datasets.sharded_images import ShardIndex, merge

ODD = [
    ' a.png', 'a.png ', 'a\nb.png', 'a\r\nb.png', 'a\r.png', 'tab\t.png', 'img 3', 'img 3.png', '-a.png',
    '#a.png', 'a,b.png', '"a".png', "'a'.png", '"a" 3', 'a\\b.png', os.fsdecode(b'x\xff.png'), '\ufeffa.png',
    'a\u2028b.png', '7', 'a b', 'a b 7/c 8', 'a\x85.png', '\u3000a.png', 'é.png', '"', '\\"', 'a\x1f.png', '日本 5',
]  # fmt: skip


@pytest.mark.parametrize('labels', [None, range(len(ODD))], ids=['plain', 'labelled'])
def test_odd_names_come_back(tmp_path, labels):
    path = tmp_path / 'list.txt'
    path.write_text(list_text(ODD, labels), encoding='utf-8')
    found = read_list(str(path))
    assert [name for _, name, _ in found] == ODD
    assert [label for *_, label in found] == list(labels or [None] * len(ODD))
    assert list_text(ODD[:1]) == f'{list_line(ODD[0])}\n' and list_text([]) == ''


def test_any_characters_come_back(tmp_path):
    rng = random.Random(0)
    names = [''.join(rng.choice(' \t\n\r"\\a1,#\udcff\u2029') for _ in range(rng.randint(1, 6))) for _ in range(3000)]
    for label in (None, 12):
        assert [parse_line(list_line(name, label)) for name in names] == [(name, label) for name in names]


def test_usual_lists_stay_as_they_were(tmp_path):
    names = ['a.png', 'my photo 7.png', 'b/ü.png']
    assert list_text(names) == 'a.png\nmy photo 7.png\nb/ü.png\n'
    assert list_text(names, [1, 0, 2]) == 'a.png 1\nmy photo 7.png 0\nb/ü.png 2\n'
    assert list_text(['a.png'], [3]) == 'a.png 3\n'
    path = tmp_path / 'list.txt'
    path.write_bytes(b'\xef\xbb\xbf"old".png 4\r\n\r\n  b.png  \nx\xff.png 2\n"a\\"b.png" 1 2\n')
    assert read_list(str(path)) == [
        (1, '"old".png', 4),
        (3, 'b.png', None),
        (4, os.fsdecode(b'x\xff.png'), 2),
        (5, '"a\\"b.png" 1', 2),
    ]


def test_a_data_set_reads_such_files_by_its_list(tmp_path):
    names = [name for name in ODD if '/' not in name]
    for name in names:
        (tmp_path / name).write_bytes(b'')
    (tmp_path / 'list.list').write_text(list_text(names, range(len(names))))
    dataset = ImageFolder(str(tmp_path), ann_file='list.list', pipeline=[])
    assert [os.path.basename(dataset.get_data_info(i)['img_path']) for i in range(len(names))] == names
    assert dataset.get_labels().tolist() == list(range(len(names)))


def test_shards_keep_such_names_and_read_those_of_earlier_versions(monkeypatch):
    count = len(ODD)
    part = dict(name='a.tar', names=ODD, offset=range(count), size=range(count), crc=range(count))
    index = merge([part], None)
    assert ShardIndex.from_bytes(index.to_bytes(), '').names == tuple(ODD)
    monkeypatch.setattr('mmmim.datasets.sharded_images.FORMAT', 1)
    old = index._replace(names=tuple(f'{i}.png' for i in range(count))).to_bytes()
    assert ShardIndex.from_bytes(old, '').names[-1] == f'{count - 1}.png'
