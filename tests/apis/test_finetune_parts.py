"""Which images of a dense task train, which select, and which are reported."""

import pytest

from mmmim.apis.finetuning.parts import divide


def parts_of(counts, test=None, share=None):
    items = [(part, f'{part}{i:03d}') for part, count in counts.items() for i in range(count)]
    found = divide(items, lambda item: None if item[0] == 'free' else item[0], lambda item: item[1], test, share)
    names = [name for part in found[:3] for _, name in part]
    assert len(set(names)) == len(names)
    return [{part for part, _ in items} for items in found[:3]], [len(part) for part in found[:3]], found


@pytest.mark.parametrize(
    'given, sizes, origins',
    [
        (dict(free=20), [12, 4, 4], ['free', 'free', 'free']),
        (dict(train=20), [12, 4, 4], ['train', 'train', 'train']),
        (dict(train=20, validation=5), [20, 3, 2], ['train', 'validation', 'validation']),
        (dict(train=20, test=5), [16, 4, 5], ['train', 'train', 'test']),
        (dict(train=20, validation=3, test=5), [20, 3, 5], ['train', 'validation', 'test']),
        (dict(train=20, validation=3, free=9), [20, 2, 1], ['train', 'validation', 'validation']),
        (dict(free=20, test=5), [16, 4, 5], ['free', 'free', 'test']),
    ],
)
def test_parts_stay_as_they_are_and_what_is_missing_is_drawn(given, sizes, origins):
    found, counts, parts = parts_of(given)
    assert counts == sizes and found == [{origin} for origin in origins]
    assert len(parts.notes) == (sizes[1:] != [3, 5]) + ('free' in given and 'train' in given)


def test_draws_stay_when_images_come_and_shares_are_of_what_is_fitted():
    before, after = parts_of(dict(free=40))[2], parts_of(dict(free=50))[2]
    moved = set(before.fit) & (set(after.selection) | set(after.report))
    assert len(moved) <= 6  # of 24; two draws that have nothing to do with each other would share ten
    half = parts_of(dict(free=40), share=0.5)[2]
    assert set(half.fit) < set(before.fit) and len(half.fit) == 12 and half.report == before.report
    given = [('test', 'mine')]
    assert parts_of(dict(train=10, validation=2), test=given)[2].report == given


@pytest.mark.parametrize(
    'given, words',
    [
        (dict(free=4), 'too few'),
        (dict(train=9, validation=1), 'one image'),
        (dict(test=3, validation=2), 'to train on'),
    ],
)
def test_no_part_is_empty(given, words):
    with pytest.raises(ValueError, match=words):
        parts_of(given)


def test_an_image_is_in_one_part_also_as_a_link_or_a_copy(tmp_path):
    for i in range(8):
        (tmp_path / f'{i}').write_bytes(b'%d' % i)
    (tmp_path / 'copy').write_bytes(b'7')
    (tmp_path / 'link').symlink_to(tmp_path / '6')
    (tmp_path / 'chosen').write_bytes(b'6')
    items = [('train', name) for name in ('0', '1', '2', '7', 'link')] + [('validation', n) for n in ('5', '6')]
    items += [('test', 'copy'), ('test', 'chosen')]

    def parts(items, test=None):
        return divide(items, lambda item: item[0], lambda item: item[1], test, None, lambda item: tmp_path / item[1])

    found = parts(items)
    assert [[name for _, name in part] for part in found[:3]] == [['0', '1', '2'], ['5'], ['chosen', 'copy']]
    assert '3 images that are in two parts' in ' '.join(found.notes)
    with pytest.raises(ValueError, match='no images to train on: all of them also'):
        parts([('train', name) for name in '012345'], [('test', name) for name in '012345'])
