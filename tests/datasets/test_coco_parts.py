"""The COCO files of a data set: parts by their names, images wherever they lie."""

import json

import pytest
from PIL import Image

from mmmim.datasets.coco_file import AnnotationError
from mmmim.datasets.coco_parts import find_coco


def write(path, *names, keep=True):
    """A file of annotations of these images, which are written to the first folder of ``names``."""
    folder, *files = names
    content = dict(
        images=[dict(id=i, file_name=name, width=8, height=8) for i, name in enumerate(files)],
        annotations=[
            dict(id=i, image_id=i, category_id=1, bbox=[0, 0, 4, 4], area=16, iscrowd=0) for i in range(len(files))
        ],
        categories=[dict(id=1, name='thing')],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    for name in files if keep else ():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (8, 8)).save(folder / name)


def found(root, *args):
    return sorted((file.part or '', file.images) for file in find_coco(str(root), *args))


def test_cocos_own_layout(tmp_path):
    for split in ('train2017', 'val2017'):
        write(tmp_path / f'annotations/instances_{split}.json', tmp_path / split, 'a.png', 'b.png')
        write(tmp_path / f'annotations/person_keypoints_{split}.json', tmp_path / split, 'a.png')
    (tmp_path / 'annotations/captions_train2017.json').write_text('{"images": [], "annotations": []}')
    assert found(tmp_path) == [('train', str(tmp_path / 'train2017')), ('validation', str(tmp_path / 'val2017'))]


def test_a_file_in_each_part(tmp_path):
    for split in ('train', 'valid', 'test'):
        write(tmp_path / split / '_annotations.coco.json', tmp_path / split, 'a.png')
    assert [part for part, _ in found(tmp_path)] == ['test', 'train', 'validation']


@pytest.mark.parametrize('folder', ['images', '.', 'photos/all'])
def test_one_file(folder, tmp_path):
    write(tmp_path / 'annotations/all.json', tmp_path / folder, 'x/a.png')
    expected = [('', str((tmp_path / folder).resolve()))]
    assert found(tmp_path) == found(tmp_path / 'annotations/all.json') == expected


def test_images_and_json_apart(tmp_path):
    write(tmp_path / 'mine/all.json', tmp_path / 'photos', 'a.png')
    assert found(tmp_path / 'photos', str(tmp_path / 'mine/all.json')) == [('', str(tmp_path / 'photos'))]


def test_what_is_missing_or_meant_twice(tmp_path):
    with pytest.raises(FileNotFoundError, match='there is no'):
        find_coco(str(tmp_path / 'nowhere'))
    with pytest.raises(FileNotFoundError, match='has no json'):
        find_coco(str(tmp_path))
    write(tmp_path / 'train.json', tmp_path, 'a.png', keep=False)
    with pytest.raises(FileNotFoundError, match="names 'a.png'"):
        find_coco(str(tmp_path))
    write(tmp_path / 'train.json', tmp_path, 'a.png')
    write(tmp_path / 'train_more.json', tmp_path, 'a.png')
    with pytest.raises(AnnotationError, match='which one is meant'):
        find_coco(str(tmp_path))
