"""What folders are for, by their names and by what is in them: parts of a split, masks beside images."""

import os
import re
from typing import Dict, FrozenSet, List, NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image

from .io.file_list import holds_results, names_in_words
from .io.formats import FORMATS, IMAGE_EXTENSIONS
from .io.tar_files import open_image

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
_SIDE = 256  # of what is looked at in a file
_FEW, _NEARLY = 64, 0.98  # values of a mask, at most, and the share of pixels that have them
_FIRST, _LAST = 16, 200  # below and up to which the least and the largest index are; 255 means none
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


Groups = Dict[str, Dict[str, Optional[str]]]  # by a name for each: files, each with the image that it belongs to


def leave_out_masks(root: str, files: List[str]) -> Masks:
    """Find the masks among the images under a folder: pictures whose pixels are indices of classes or objects.

    A mask is a file in a folder with a usual name (``masks/``, ``annotations/``, ``SegmentationClass/`` ...) or with a
    usual ending of its stem (``_mask``, ``_gt``, ``_seg`` ...) that belongs to an image; or a PNG of one channel or
    with a palette that has the name and the size of an image in another folder or with another suffix. Some files of
    each group are looked at: masks are areas of few values, and photographs are not. Names of folders that are no usual
    ones may be classes: there the values have to be indices, too, which those of black-and-white drawings are not.

    Args:
        root: The folder.
        files: Relative to it, sorted; also of images in tars.
    """
    together = '\n'.join([*files, '']).lower()  # one look at all names instead of a million
    groups = masks_by_name(files) if _ANY_MASK.search(together) else {}
    found = {name: members for name, members in groups.items() if _named_masks(root, members)}
    by_content = not groups and '.png\n' in together
    if by_content:
        found = masks_by_content(root, files)
    left_out = {file for members in found.values() for file in members}
    if not left_out or len(left_out) == len(files):
        return Masks(files, [])
    told = names_in_words([f'{name} ({len(members):,} files)' for name, members in found.items()])
    sentence = f'left out, as masks: {told}'
    if by_content:
        sentence = f'WARNING: {sentence}, by their pixels alone. If they are images, a list of all files keeps them'
    return Masks([file for file in files if file not in left_out], [sentence])


def _some(files: List[str]) -> List[str]:
    return files[:: max(1, len(files) // _LOOKED_AT)][:_LOOKED_AT]


def masks_by_name(files: List[str]) -> Groups:
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
    images: Dict[str, str] = {}
    for file in files:
        folder, _, name = file.rpartition('/')
        match = _MASK_STEM.fullmatch(os.path.splitext(name)[0])
        if folder in marks:
            candidates.append((file, f'{marks[folder]}/'))
        elif match:
            candidates.append((file, f'*_{match["mark"]}{os.path.splitext(name)[1]}'))
            images[identity_of(file, whole=True)] = file  # where its partner is in a folder of masks
        else:
            images[identity_of(file)] = file
    groups: Groups = {}
    for file, group in candidates:
        beside = group.endswith('/') and group[:-1].rpartition('/')[0] in with_images
        image = images.get(identity_of(file))
        if beside or image is not None:
            groups.setdefault(group, {})[file] = image
    return groups


def identity_of(file: str, whole: bool = False) -> str:
    """What an image and its mask have in common; ``whole``: of an image whose own name looks like a mask's."""
    folder, _, name = file.rpartition('/')
    parts = [part for part in folder.split('/') if part.lower() not in _IMAGE_FOLDERS | _MASK_FOLDERS]
    stem = os.path.splitext(name)[0]
    match = None if whole else _MASK_STEM.fullmatch(stem)
    return '/'.join([*parts, _IMAGE_STEM.sub('', match['image'] if match else stem)])


def masks_by_content(root: str, files: List[str]) -> Groups:
    """PNG files that look like masks and have the name of a photograph in another folder, or beside them."""
    stems: Dict[str, Dict[str, str]] = {}
    beside: Dict[str, Optional[str]] = {}
    photos = {os.path.splitext(file)[0]: file for file in files if file.lower().endswith(('.jpg', '.jpeg'))}
    for file in files:
        stem, ending = os.path.splitext(file)
        if ending.lower() == '.png' and stem in photos:
            beside[file] = photos[stem]
        folder, _, below = stem.partition('/')
        if below and len(stems) <= _MOST_FOLDERS:
            stems.setdefault(folder, {})[below] = file
    found: Groups = {}
    if beside and _are_indices(root, beside, classes=False):
        found['*.png beside *.jpg'] = beside
    if not 2 <= len(stems) <= _MOST_FOLDERS:
        return found
    for folder, named in stems.items():
        for other, theirs in stems.items():
            shared = named.keys() & theirs.keys()
            if other == folder or len(shared) < 0.9 * len(named):
                continue
            pairs: Dict[str, Optional[str]] = {named[below]: theirs[below] for below in sorted(shared)}
            looks = [_look(os.path.join(root, file)) for file in _some(sorted(theirs.values()))]
            if not any(look and look.flat for look in looks) and _are_indices(root, pairs, classes=True):
                found[f'{folder}/'] = {file: None for file in files if file.startswith(f'{folder}/')}
    return found


class _Look(NamedTuple):
    """What some pixels of an image say.

    Attributes:
        size: Its shorter and its longer side.
        flat: Whether most neighbouring pixels in the middle are equal.
        areas: Whether pixels of other than the most common value mostly have an equal neighbour, too.
        few: Whether nearly all pixels have one of few values; soft edges have others.
        single: Whether it is a PNG of one channel or with a palette.
        indices: The values but 0 and 255, of one channel.
        coloured: Whether it has a palette with colours.
    """

    size: Tuple[int, ...]
    flat: bool
    areas: bool
    few: bool
    single: bool
    indices: FrozenSet[int]
    coloured: bool


def _look(path: str) -> Optional[_Look]:
    """None where it cannot be read."""
    try:
        with open_image(path) as file, Image.open(file, formats=FORMATS) as image:
            size, pixels, palette = image.size, np.asarray(image), image.getpalette() or []
            kind, mode = image.format, image.mode
    except Exception:  # Pillow's decoders raise many kinds
        return None
    (width, height), most = size, _SIDE
    if width < 2:
        return None
    left, top = max(0, width // 2 - most // 2), max(0, height // 2 - most // 2)
    middle = pixels[top : top + most, left : left + most]
    spread = pixels[:: -(-height // most), :: -(-width // most)]
    spread = spread.reshape(-1, spread.shape[2] if spread.ndim == 3 else 1)
    values, counts = np.unique(spread, axis=0, return_counts=True)
    single = kind == 'PNG' and mode in ('P', 'L', '1', 'I', 'I;16')
    colours = np.reshape(palette if mode == 'P' and palette else [0, 0, 0], (-1, 3))
    used = colours[np.minimum(values[:, 0], len(colours) - 1) if mode == 'P' else [0]]
    return _Look(
        size=tuple(sorted(size)),
        flat=bool((middle[:, 1:] == middle[:, :-1]).mean() > _FLAT),
        areas=not single or _in_areas(middle),
        few=bool(np.sort(counts)[-_FEW:].sum() >= _NEARLY * counts.sum()),
        single=single,
        indices=frozenset(values[:, 0].tolist()) - {0, 255} if single and mode != '1' else frozenset(),
        coloured=bool((used != used[:, :1]).any()),
    )


def _in_areas(pixels: np.ndarray) -> bool:
    """Whether pixels of other than the most common value mostly have an equal neighbour in their row."""
    equal = pixels[:, 1:] == pixels[:, :-1]
    beside = np.pad(equal, ((0, 0), (1, 0))) | np.pad(equal, ((0, 0), (0, 1)))
    values, counts = np.unique(pixels, return_counts=True)
    others = pixels != values[counts.argmax()]
    return not others.any() or bool(beside[others].mean() > 0.5)


def _of_one_size(root: str, look: _Look, image: Optional[str]) -> bool:
    """Whether an image has this size, also if it lies on its side, as far as it is known and can be read."""
    if image is None:
        return True
    try:
        with open_image(os.path.join(root, image)) as file, Image.open(file, formats=FORMATS) as opened:
            return tuple(sorted(opened.size)) == look.size
    except Exception:  # Pillow's decoders raise many kinds
        return True


def _named_masks(root: str, members: Dict[str, Optional[str]]) -> bool:
    """Whether half of the files that are looked at are areas of few values, in the size of their images unless they are
    indices; by name alone, where none can be read."""
    seen = []
    for file in _some(sorted(members)):
        look = _look(os.path.join(root, file))
        if look is not None:
            seen.append(look.flat and look.few and (_small(look.indices) or _of_one_size(root, look, members[file])))
    return sum(seen) * 2 >= len(seen)


def _small(values: FrozenSet[int]) -> bool:
    """Whether values are indices rather than brightness: some near 0, none near white."""
    return bool(values) and min(values) < _FIRST and max(values) <= _LAST


def _are_indices(root: str, members: Dict[str, Optional[str]], classes: bool) -> bool:
    """Whether every file that is looked at is a PNG of one channel or with a palette, with areas of few values, in the
    size of its image; with ``classes`` these are also indices."""
    looks: List[_Look] = []
    for file in _some(sorted(members)):
        look = _look(os.path.join(root, file))
        fits = look is not None and look.single and look.flat and look.areas and look.few
        if look is None or not fits or not _of_one_size(root, look, members[file]):
            return False
        looks.append(look)
    together = frozenset().union(*(look.indices for look in looks))
    return not classes or any(look.coloured for look in looks) or _small(together)
