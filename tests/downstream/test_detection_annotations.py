"""Annotations in COCO's format: what they mean for a config, and each way to get them wrong, in one line."""

import copy
import shutil
import subprocess
import sys

import pytest
from det_harness import CLASSES, FOLDER, make_coco, make_det_config, read, write
from harness import ROOT, environment
from PIL import Image

from mmmim.config.detection import settle_detector
from mmmim.config.load import load_config
from mmmim.datasets.coco_file import AnnotationError, check_classes, examine


@pytest.fixture(scope='module')
def drawings(tmp_path_factory):
    return make_coco(tmp_path_factory.mktemp('drawings') / 'data', train=6, val=3)


def settled(data, tmp_path, **overrides):
    cfg = make_det_config(tmp_path / 'run', data, **overrides)
    settle_detector(cfg)
    return cfg


def spoilt(tmp_path, change, split='train2017'):
    """A data set of which one file of annotations was changed."""
    data = make_coco(tmp_path / 'data', train=4, val=2)
    content = read(data, split)
    write(data, split, change(content) or content)
    return data


def test_classes_and_their_number_are_those_of_the_file(drawings, tmp_path):
    cfg = settled(drawings, tmp_path)
    assert tuple(cfg.classes) == CLASSES and cfg.num_classes == 2
    assert cfg.model.roi_head.bbox_head.num_classes == cfg.model.roi_head.mask_head.num_classes == 2
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert tuple(loader.dataset.metainfo.classes) == CLASSES
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert evaluator.metric.ann_file == f'{drawings}/annotations/instances_val2017.json'


def test_one_class_of_two(drawings, tmp_path):
    cfg = settled(drawings, tmp_path, classes=['square'])
    assert cfg.model.roi_head.bbox_head.num_classes == 1


def test_files_and_folders_have_keys(tmp_path):
    data = make_coco(tmp_path / 'data', train=4, val=2)
    (data / 'annotations/instances_train2017.json').rename(data / 'a.json')
    (data / 'annotations/instances_val2017.json').rename(data / 'b.json')
    cfg = settled(data, tmp_path, train_ann='a.json', val_ann='b.json', train_images='left', val_images='right')
    assert cfg.train_dataloader.dataset.data_prefix == dict(img='left')
    assert cfg.val_evaluator.metric.ann_file == f'{data}/b.json'
    assert cfg.test_dataloader.dataset.data_prefix == dict(img='right')


def test_a_test_set_of_its_own(tmp_path):
    data = make_coco(tmp_path / 'data', train=4, val=2)
    cfg = settled(
        data,
        tmp_path,
        **{
            'test_dataloader.dataset.ann_file': 'annotations/instances_train2017.json',
            'test_dataloader.dataset.data_prefix': dict(img='train2017'),
        },
    )
    assert cfg.test_dataloader.dataset.data_prefix == dict(img='train2017')
    assert cfg.test_evaluator.metric.ann_file.endswith('train2017.json')
    assert cfg.val_evaluator.metric.ann_file.endswith('val2017.json')


def test_without_the_data_a_config_that_was_run_is_complete(drawings, tmp_path):
    data = make_coco(tmp_path / 'data', train=4, val=2)
    cfg = settled(data, tmp_path)
    shutil.rmtree(data)
    before = copy.deepcopy(cfg._cfg_dict)
    settle_detector(cfg, with_data=False)
    assert cfg._cfg_dict == before
    cfg = make_det_config(tmp_path / 'run', drawings)
    settle_detector(cfg, with_data=False)
    assert cfg.num_classes == 2  # not in the config: read


def test_only_what_is_tested_needs_a_file(drawings, tmp_path):
    cfg = make_det_config(tmp_path / 'run', drawings, train_ann='nowhere.json')
    cfg.pop('max_epochs')  # as tools/test.py does
    settle_detector(cfg)
    assert tuple(cfg.classes) == CLASSES


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda c: c.pop('categories') and None, 'has no list of categories: it has to be in COCO'),
        (lambda c: [c], 'has no list of images, categories, annotations'),
        (lambda c: dict(c, images=[]), 'has no images: its list'),
        (
            lambda c: dict(c, annotations=[]),
            'has no annotation of the 2 classes that can be used: 4 images, no objects',
        ),
        (lambda c: c['annotations'].append(c['annotations'][0]), '1 ids of annotations are there twice: 1. Each needs'),
        (lambda c: c['images'][1].update(id=1), '1 ids of images are there twice: 1'),
        (lambda c: c['annotations'][2].pop('iscrowd') and None, 'number 2 of its annotations has no iscrowd'),
        (lambda c: c['images'][2].pop('width') and None, 'number 2 of its images has no width'),
        (
            lambda c: c['annotations'][2].pop('segmentation') and None,
            r'1 annotations have no usable outline: 1 without an outline \(id 3\)',
        ),
        (lambda c: c['annotations'][1].update(bbox=[1, 2, None, 4]), r'the bbox of annotation 2 is \[1, 2, None, 4\]'),
        (lambda c: c['annotations'][1].update(category_id=5), 'annotation 2 has the category_id 5, .*none of.*: 3, 7'),
        (lambda c: c['categories'].append(dict(id=9, name='disc')), "several categories named 'disc'"),
        (
            lambda c: [a.update(bbox=[v / 48 for v in a['bbox']]) for a in c['annotations']] and None,
            r'can be used \(annotations that are left out: 8 with a box of less than one pixel .*in pixels, not shares',
        ),
        (
            lambda c: [a.update(bbox=[50, 50, 9, 9]) for a in c['annotations']] and None,
            '8 with a box outside of the image',
        ),
        (
            lambda c: c['annotations'][0]['bbox'].__setitem__(0, float('nan')),
            r'bbox of annotation 1 is \[nan, .*pixels',
        ),
        (lambda c: c['annotations'][0].update(area=None), 'the area of annotation 1 is None: it has to be a number'),
        (lambda c: c['annotations'][0].update(iscrowd='0'), "iscrowd of annotation 1 is '0': it has to be 0 or 1"),
        (lambda c: c['annotations'][0].update(id=[1]), r'the id of number 0 of its annotations is \[1\]'),
        (lambda c: c['annotations'][0].update(image_id=None), 'the image_id of annotation 1 is None'),
        (lambda c: c['images'][0].update(width='48'), "the width of image 1 is '48': it has to be a number of pixels"),
        (lambda c: c['categories'][0].update(name=5), 'the name of category 3 is 5: it has to be a text'),
        (
            lambda c: [a.update(iscrowd=1) for a in c['annotations']] and None,
            r'no annotation of the 2 classes that can be used: 8 are crowds \(iscrowd=1\)',
        ),
    ],
)
def test_a_file_that_mmdet_would_stumble_over(change, message, tmp_path):
    with pytest.raises(AnnotationError, match=message) as caught:
        settled(spoilt(tmp_path, change), tmp_path)
    assert '\n' not in str(caught.value) and 'instances_train2017.json' in str(caught.value)


def test_unreadable_and_missing_files(tmp_path):
    data = make_coco(tmp_path / 'data', train=4, val=2)
    path = data / 'annotations/instances_val2017.json'
    path.write_text(path.read_text()[:-20])
    with pytest.raises(AnnotationError, match='instances_val2017.json cannot be read as JSON: '):
        settled(data, tmp_path)
    path.unlink()
    with pytest.raises(AnnotationError, match="no file of annotations '.*val2017.json': set data_root, or train_ann"):
        settled(data, tmp_path)


def test_a_class_list_that_does_not_fit_lists_both(drawings, tmp_path):
    for classes in (['disc', 'triangle'], ['disc', 'square', 'triangle']):
        with pytest.raises(AnnotationError, match="no class 'triangle'. Classes asked for: .*In the file: di"):
            settled(drawings, tmp_path, classes=classes)
    with pytest.raises(AnnotationError, match='order of the file, .*: disc, square; asked for are square, disc'):
        settled(drawings, tmp_path, classes=['square', 'disc'])
    with pytest.raises(AnnotationError, match='num_classes=3, but .* has 2 classes: disc, square. Set num_cla'):
        settled(drawings, tmp_path, num_classes=3)
    with pytest.raises(ValueError, match='num_classes=3, but `classes` names 2'):
        settled(drawings, tmp_path, num_classes=3, classes=list(CLASSES))


def test_validation_needs_the_classes_of_training_in_their_order(tmp_path):
    def reverse(content):
        content['categories'].reverse()

    with pytest.raises(AnnotationError, match='order of the file, .*val2017.json: square, disc; asked for are di'):
        settled(spoilt(tmp_path, reverse, 'val2017'), tmp_path)


def test_what_is_left_out_is_counted(tmp_path):
    def change(content):
        first, second, third, fourth, fifth = content['annotations'][:5]
        first['bbox'][2] = 0.5
        second['bbox'][0] = -60
        third['area'], fourth['iscrowd'], fifth['image_id'] = 0, 1, 99

    path = spoilt(tmp_path, change) / 'annotations/instances_train2017.json'
    summary = examine(str(path))
    assert summary.remark().split(': ', 1)[1] == (
        'annotations that are left out: 1 with a box of less than one pixel (id 1); 1 with a box outside of the image '
        '(id 2); 1 with an area of 0 (id 3); 1 of images that the file does not list (id 5)'
    )
    assert summary.count(CLASSES) == 3 and set(summary.annotated) == {3, 4}
    check_classes(summary, CLASSES)
    content = read(tmp_path / 'data')
    content['annotations'] = content['annotations'][5:6]
    write(tmp_path / 'data', 'train2017', content)
    assert examine(str(path)).count(CLASSES) == 1  # a new version of the file is read anew


BROKEN = ([], None, [[10, 10, 30, 30]], [10, 10, 30, 10, 30, 30], dict(size=[48, 40], counts=[1920]))


def break_outlines(content):
    """Every kind at the first objects: five of eight, discs and squares."""
    for annotation, outline in zip(content['annotations'], BROKEN):
        annotation['segmentation'] = outline


def test_outlines_that_are_no_masks_are_named_or_left_out_and_counted(tmp_path):
    data = spoilt(tmp_path, break_outlines)
    path = str(data / 'annotations/instances_train2017.json')
    with pytest.raises(AnnotationError, match='instances_train2017.json: 5 annotations have no usable outline: 2 w'):
        settled(data, tmp_path)
    cfg = settled(data, tmp_path, skip_broken=True)
    assert 'skip_broken' not in cfg and cfg.train_dataloader.dataset.skip_broken is True
    settled(data, tmp_path, **{'train_dataloader.dataset.skip_broken': True})  # of one data set alone
    summary = examine(path)
    assert summary.count(CLASSES) == 3 and [flaw.id for flaw in summary.broken] == [1, 2, 3, 4, 5]
    assert '2 without an outline (id 1, 2); 1 with a polygon of fewer than three points (id 3)' in summary.remark()
    with pytest.raises(AnnotationError, match='no usable outline: 1 without'):  # of the class that is asked for
        check_classes(summary, ['disc'])


def test_no_object_is_left(tmp_path):
    def break_all(content):
        for annotation in content['annotations']:
            annotation['segmentation'] = [[]]

    data = spoilt(tmp_path, break_all)
    with pytest.raises(AnnotationError, match=r'that can be used \(annotations that are left out: 8 with a polygon of'):
        settled(data, tmp_path, skip_broken=True)


def test_broken_outlines_of_a_class_that_is_not_asked_for_do_not_count(tmp_path):
    def break_discs(content):
        for annotation in content['annotations']:
            if annotation['category_id'] == 3:
                annotation['segmentation'] = None

    settled(spoilt(tmp_path, break_discs), tmp_path, classes=['square'])


def test_outlines_are_needed_where_masks_are_learned_or_measured(tmp_path):
    boxes = {'model.roi_head.mask_head': None, 'model.roi_head.mask_roi_extractor': None}
    for evaluator in ('val_evaluator', 'test_evaluator'):
        boxes[f'{evaluator}.metric.metric'] = 'bbox'
    data = spoilt(tmp_path, break_outlines)
    settled(data, tmp_path, **boxes)
    shutil.rmtree(data)
    data = spoilt(tmp_path, break_outlines, 'val2017')
    settled(data, tmp_path, **boxes)
    with pytest.raises(AnnotationError, match='instances_val2017.json: 4 annotations have no usable outline'):
        settled(data, tmp_path)


def test_polygons_beside_a_whole_one_are_no_error(tmp_path):
    def add_specks(content):
        for annotation in content['annotations'][:3]:
            annotation['segmentation'].insert(0, [1, 1, 2, 2])

    data = spoilt(tmp_path, add_specks)
    settled(data, tmp_path)
    remark = examine(str(data / 'annotations/instances_train2017.json')).remark()
    assert 'whose other polygons are used: 3 with a polygon of fewer than three points (id 1, 2, 3)' in remark


@pytest.mark.parametrize(
    'overrides, message',
    [
        (dict(image_size=(64, 48)), 'image_size=.* must be one number of pixels'),
        (dict(milestones=[5, 20]), r'milestones=\[5, 20\] must be growing, and below max_epochs=20'),
    ],
)
def test_contradictions_are_errors(overrides, message, drawings, tmp_path):
    with pytest.raises(ValueError, match=message):
        settled(drawings, tmp_path, **overrides)


def test_other_models_are_left_alone():
    for name in ('configs/mae/vit-tiny_folder.py', 'configs/downstream/segmentation/vit-tiny_folder_upernet.py'):
        cfg = load_config(str(ROOT / name))
        before = copy.deepcopy(cfg._cfg_dict)
        settle_detector(cfg)
        assert cfg._cfg_dict == before


@pytest.mark.runs
def test_without_mmdet_the_first_line_says_how_to_install_it(drawings):
    """In a process that cannot import mmdet, whether it is there or not."""
    code = (
        "import sys, runpy; sys.modules['mmdet'] = None; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    config = str(FOLDER / 'vit-tiny_folder_mask-rcnn.py')
    for tool in ('train', 'test'):
        command = [sys.executable, '-c', code, str(ROOT / f'tools/{tool}.py'), config, '--cfg-options']
        done = subprocess.run(
            [*command, f'data_root={drawings}'],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
            cwd=drawings,
        )
        assert done.returncode == 1 and 'Traceback' not in done.stderr
        line = next(line for line in done.stderr.splitlines() if line.startswith('ImportError'))
        assert 'mmdet' in line and 'bash tools/setup_env.sh detection' in line


def test_images_are_opened_through_their_annotations(drawings):
    """The drawings are what their files say, which the other tests build on."""
    summary = examine(f'{drawings}/annotations/instances_train2017.json')
    assert summary.remark() is None and summary.count(CLASSES) == 12
    for name, width, height in summary.images.values():
        assert Image.open(drawings / 'train2017' / name).size == (width, height)


# ---------------------------------------------------------------------------------------------------- read and measured


def measure_truth(data, split='train2017'):
    """The score of the true objects of a file by the config's metric, and of the data set that training reads."""
    pytest.importorskip('mmdet')
    import numpy as np
    import pycocotools.mask as masks
    from mmdet.registry import DATASETS, METRICS

    from mmmim.config.prepare import set_up_scope

    cfg = make_det_config(data.parent / 'run', data, skip_broken=True)
    del cfg.train_dataloader.dataset.pipeline[2]  # the flip
    set_up_scope(cfg)
    settle_detector(cfg)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    learned = [dataset[i]['data_samples'].gt_instances for i in range(len(dataset))]
    metric = METRICS.build(dict(cfg.val_evaluator.metric, ann_file=dataset.ann_file))
    metric.dataset_meta = dict(classes=CLASSES)
    for info, objects in zip(map(dataset.get_data_info, range(len(dataset))), learned):
        found = dict(
            img_id=info['img_id'],
            bboxes=objects.bboxes.numpy(),
            labels=objects.labels.numpy(),
            scores=np.ones(len(objects)),
            masks=[masks.encode(np.asfortranarray(mask)) for mask in objects.masks.masks],
        )
        metric.results.append((dict(width=48, height=48, img_id=info['img_id']), found))
    return sum(map(len, learned)), metric.compute_metrics(metric.results)


def number_from_0(content):
    for number, annotation in enumerate(content['annotations']):
        annotation['id'] = number


def number_by_text(content):
    for annotation in content['annotations']:
        annotation['id'] = f'object {annotation["id"]}'


def number_below_0(content):
    for annotation in content['annotations']:
        annotation['id'] -= 4


def image_ids_from_0(content):
    for image in content['images']:
        image['id'] -= 1
    for annotation in content['annotations']:
        annotation['image_id'] -= 1
    number_from_0(content)


def specks(content):
    for annotation in content['annotations']:
        annotation['segmentation'].insert(0, [1, 1, 2, 2])


@pytest.mark.parametrize('change', [number_from_0, number_by_text, number_below_0, image_ids_from_0, specks])
def test_the_truth_scores_1(change, tmp_path):
    """pycocotools alone: 0.78 where an id is 0, an error where ids are texts or a polygon has two points."""
    learned, result = measure_truth(spoilt(tmp_path, change))
    assert learned == 8 and result['bbox_mAP'] == result['segm_mAP'] == 1


def test_the_truth_without_broken_outlines_scores_1(tmp_path):
    learned, result = measure_truth(spoilt(tmp_path, break_outlines))
    assert learned == 3 and result['bbox_mAP'] == result['segm_mAP'] == 1


def test_an_image_whose_objects_are_all_left_out_is_no_background(tmp_path, monkeypatch):
    """The first two of four images lose both objects, the third one of its two. The fourth has never had any."""
    pytest.importorskip('mmdet')
    from mmdet.registry import DATASETS

    from mmmim.config.prepare import set_up_scope
    from mmmim.engine.hooks import check_data

    def change(content):
        break_outlines(content)
        content['annotations'] = content['annotations'][:6]

    cfg = make_det_config(tmp_path / 'run', spoilt(tmp_path, change), skip_broken=True)
    set_up_scope(cfg)
    settle_detector(cfg)
    part = dict(cfg.train_dataloader.dataset, filter_cfg=None)
    dataset = DATASETS.build(part)
    assert [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))] == [3, 4]
    assert len(DATASETS.build(dict(part, test_mode=True))) == 4
    said = []
    monkeypatch.setattr(check_data, 'print_log', lambda text, *_: said.append(text))
    check_data.check_annotations(dataset, 'training', 2)
    assert said[-1] == (
        'training set: 2 of 4 images are left out; 3 have no usable annotation (dataset.filter_cfg=None keeps them, '
        'but the 2 whose objects skip_broken leaves out)'
    )
    boxes = dict(part, pipeline=[dict(type='mmmim.LoadImage'), dict(type='LoadAnnotations', with_bbox=True)])
    assert len(DATASETS.build(boxes)) == 4  # which need no outlines
