"""What folders are for, by their names and by what is in them: parts of a split, masks beside images."""

import os
import re
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image

from .io.file_list import holds_results, names_in_words
from .io.formats import FORMATS, IMAGE_EXTENSIONS

TRAIN, VALIDATION, TEST = 'train', 'validation', 'test'
_PARTS = {
    TRAIN: ('train', 'training', 'trn'),
    VALIDATION: ('val', 'valid', 'validation', 'dev', 'eval'),
    TEST: ('test', 'testing'),
}
_ADDED = ('images', 'image', 'imgs', 'img', 'photos', 'set', 'data', 'dataset', 'split', 'seg')  # train_images, valset
_PART = re.compile(f'({"|".join(word for words in _PARTS.values() for word in words)})({"|".join(_ADDED)})?')
_IMAGE_FOLDERS = frozenset(
    'image images img imgs img_dir jpegimages photo photos picture pictures rgb leftimg8bit frames originals'.split()
)
_MASK_FOLDERS = frozenset(
    'annotation annotations ann anns ann_dir annots mask masks mask_dir label labels labels_mask segmentation '
    'segmentations segmentationclass segmentationobject segmentationclassaug seg segs gt gts gtfine gtcoarse '
    'groundtruth ground_truth ground-truth trimap trimaps semantic'.split()
)
_MASK_STEM = re.compile(
    r'(?P<image>.+?)[ _.-](?P<mark>masks?|seg|segmentation|gt|groundtruth|label|labels|trimap'
    r'|gt(fine|coarse)_\w+|label(train)?ids|instanceids|l)([ _-]?\d+)?$',
    re.IGNORECASE,
)
_ANY_MASK = re.compile(
    rf'(^|/)({"|".join(map(re.escape, sorted(_MASK_FOLDERS)))})/'
    r'|[ _.-](mask|seg|gt|ground|label|trimap|instance|l[ _.-])[^/\n]*$',
    re.MULTILINE,
)
_IMAGE_STEM = re.compile(r'[ _.-](leftimg8bit|image|img|rgb)$', re.IGNORECASE)
_FLAT = 0.8  # share of neighbouring pixels that are equal: areas of one index, not a photograph
_LOOKED_AT = 4  # files of a group
_MOST_FOLDERS = 8  # that are compared by what is in them: more are classes


def part_of(name: str) -> Optional[str]:
    """``'train'`` of ``train2017``, ``'validation'`` of ``Val_Images``, ``'test'`` of ``TESTING``; None of ``cat``."""
    parts = []
    for word in re.findall('[a-z]+', name.lower()):
        match = _PART.fullmatch(word)
        if match:
            parts.append(next(part for part, words in _PARTS.items() if match[1] in words))
        elif word not in _ADDED:
            return None
    return parts[0] if len(parts) == 1 else None


def is_role(name: str) -> bool:
    """Whether a folder is named as those of images or of masks usually are."""
    return name.lower() in _IMAGE_FOLDERS | _MASK_FOLDERS


def split_folders(folder: str) -> Dict[str, str]:
    """The sub-folders of a split: names by ``'train'``, ``'validation'``, ``'test'``, as far as there are any.

    Of several for one part (``train`` and ``train2017``) the one with the plain name counts; without it none does.
    """
    found: Dict[str, List[str]] = {}
    for name in subfolders(folder):
        part = part_of(name)
        if part is not None:
            found.setdefault(part, []).append(name)
    chosen = {}
    for part, names in found.items():
        plain = [name for name in names if name.lower() in _PARTS[part]]
        if len(names) == 1 or len(plain) == 1:
            chosen[part] = names[0] if len(names) == 1 else plain[0]
    return chosen


def subfolders(folder: str) -> List[str]:
    """Names of the folders in a folder, without hidden ones and results of runs, sorted."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith('.')]
    return sorted(name for name in names if not holds_results(os.path.join(folder, name)))


def find_split(folder: str) -> str:
    """The folder that holds ``train``: this one, or one below a chain of single folders, or below the images that have
    masks beside them. Without one it is this folder.
    """
    place = folder
    for _ in range(5):
        if TRAIN in split_folders(place):
            return place
        names = subfolders(place)
        images = [name for name in names if name.lower() in _IMAGE_FOLDERS]
        if len(images) == 1 and any(name.lower() in _MASK_FOLDERS for name in names):
            place = os.path.join(place, images[0])
        elif len(names) == 1 and not any(map(_is_image, os.listdir(place))):
            place = os.path.join(place, names[0])
        else:
            break
    return folder


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower().lstrip('.').rstrip() in IMAGE_EXTENSIONS


# ----------------------------------------------------------------------------------------------------------- the masks


class Masks(NamedTuple):
    """The images of a list without the masks that lie among them, and a sentence for each group of these."""

    images: List[str]
    said: List[str]


def leave_out_masks(root: str, files: List[str]) -> Masks:
    """Find the masks among the images under a folder: pictures whose pixels are indices of classes or objects.

    A mask is a file in a folder with a usual name (``masks/``, ``annotations/``, ``SegmentationClass/`` ...) or with a
    usual ending of its stem (``_mask``, ``_gt``, ``_seg`` ...) that belongs to an image; or a PNG of one channel or
    with a palette that has the same name as an image in another folder or with another suffix. Some files of each group
    are looked at: masks are areas of one value, and photographs are not.

    Args:
        root: The folder.
        files: Relative to it, sorted.
    """
    together = '\n'.join([*files, '']).lower()  # one look at all names instead of a million
    groups = _by_name(files) if _ANY_MASK.search(together) else {}
    if not groups and '.png\n' in together:
        groups = _by_content(root, files)
    left_out: set = set()
    said = []
    for name, members in groups.items():
        seen = [flat for flat in (_is_flat(os.path.join(root, file)) for file in _some(members)) if flat is not None]
        if sum(seen) * 2 >= len(seen):  # by name alone, where none can be read
            left_out.update(members)
            said.append(f'{name} ({len(members):,} files)')
    if not left_out or len(left_out) == len(files):
        return Masks(files, [])
    return Masks([file for file in files if file not in left_out], [f'left out, as masks: {names_in_words(said)}'])


def _some(files: List[str]) -> List[str]:
    return files[:: max(1, len(files) // _LOOKED_AT)][:_LOOKED_AT]


def _by_name(files: List[str]) -> Dict[str, List[str]]:
    """Files that are named like masks and belong to an image, by their folder or by how their stems end."""
    marks: Dict[str, str] = {}  # of folders
    with_images = set()  # folders that hold a folder of images
    for folder in {file.rpartition('/')[0] for file in files}:
        parts = folder.split('/')
        for depth, part in enumerate(parts):
            if part.lower() in _IMAGE_FOLDERS:
                with_images.add('/'.join(parts[:depth]))
            elif part.lower() in _MASK_FOLDERS:
                marks.setdefault(folder, '/'.join(parts[: depth + 1]))
    candidates: List[Tuple[str, str]] = []
    images = set()
    for file in files:
        folder, _, name = file.rpartition('/')
        match = _MASK_STEM.fullmatch(os.path.splitext(name)[0])
        if folder in marks:
            candidates.append((file, f'{marks[folder]}/'))
        elif match:
            candidates.append((file, f'*_{match["mark"]}{os.path.splitext(name)[1]}'))
            images.add(_identity(file, whole=True))  # where its partner is in a folder of masks
        else:
            images.add(_identity(file))
    groups: Dict[str, List[str]] = {}
    for file, group in candidates:
        beside = group.endswith('/') and group[:-1].rpartition('/')[0] in with_images
        if beside or _identity(file) in images:
            groups.setdefault(group, []).append(file)
    return groups


def _identity(file: str, whole: bool = False) -> str:
    """What an image and its mask have in common; ``whole``: of an image whose own name looks like a mask's."""
    folder, _, name = file.rpartition('/')
    parts = [part for part in folder.split('/') if part.lower() not in _IMAGE_FOLDERS | _MASK_FOLDERS]
    stem = os.path.splitext(name)[0]
    match = None if whole else _MASK_STEM.fullmatch(stem)
    return '/'.join([*parts, _IMAGE_STEM.sub('', match['image'] if match else stem)])


def _by_content(root: str, files: List[str]) -> Dict[str, List[str]]:
    """PNG files that look like masks and have the name of a photograph in another folder, or beside them."""
    stems: Dict[str, Dict[str, str]] = {}
    beside: List[str] = []
    photos = {os.path.splitext(file)[0] for file in files if file.lower().endswith(('.jpg', '.jpeg'))}
    for file in files:
        stem, ending = os.path.splitext(file)
        if ending.lower() == '.png' and stem in photos:
            beside.append(file)
        folder, _, below = stem.partition('/')
        if below and len(stems) <= _MOST_FOLDERS:
            stems.setdefault(folder, {})[below] = file
    groups = {'*.png beside *.jpg': beside} if beside else {}
    if not 2 <= len(stems) <= _MOST_FOLDERS:
        return _that_are_indices(root, groups)
    for folder, named in stems.items():
        for other, theirs in stems.items():
            if other != folder and len(named.keys() & theirs.keys()) >= 0.9 * len(named):
                if not any(_is_flat(os.path.join(root, file)) for file in _some(sorted(theirs.values()))):
                    groups[f'{folder}/'] = [file for file in files if file.startswith(f'{folder}/')]
    return _that_are_indices(root, groups)


def _that_are_indices(root: str, groups: Dict[str, List[str]]) -> Dict[str, List[str]]:
    """The groups of which every file that is looked at has one channel or a palette, and areas of one value."""

    def index(path: str) -> bool:
        try:
            with Image.open(path, formats=FORMATS) as image:
                one = image.format == 'PNG' and image.mode in ('P', 'L', '1', 'I', 'I;16')
        except Exception:  # Pillow's decoders raise many kinds
            return False
        return one and bool(_is_flat(path))

    return {
        name: members for name, members in groups.items() if all(index(os.path.join(root, f)) for f in _some(members))
    }


def _is_flat(path: str) -> Optional[bool]:
    """Whether most neighbouring pixels in the middle of an image are equal; None where it cannot be read."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            left, top = max(0, width // 2 - 128), max(0, height // 2 - 128)
            pixels = np.asarray(image.crop((left, top, min(width, left + 256), min(height, top + 256))))
    except Exception:  # Pillow's decoders raise many kinds
        return None
    if pixels.shape[1] < 2:
        return None
    return bool((pixels[:, 1:] == pixels[:, :-1]).mean() > _FLAT)
