"""Labels that mean the same in training, in validation and in the head."""

from typing import Any, Optional, Sequence

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper

from ...registry import HOOKS


class ClassMismatchError(RuntimeError):
    """The classes of the data are not those of the model, or not the same in training and validation."""


@HOOKS.register_module()
class CheckClassesHook(Hook):
    """Stops a run before it trains when head, training set and validation set have different classes.

    A label is the place of a class folder in alphabetical order: a folder that one of two sets lacks moves all labels
    after it, and the accuracy would be low without a reason to be seen. Data sets that do not name their classes are
    not checked. Also says when a classifier starts from a random encoder.
    """

    def before_train(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        train = _classes(runner.train_dataloader)
        num_classes = getattr(getattr(model, 'head', None), 'num_classes', None)
        if train is not None and num_classes is not None and len(train) != num_classes:
            raise ClassMismatchError(
                f'the training images have {len(train)} classes, the head {num_classes}: set num_classes={len(train)}'
            )
        held_out = None if runner.val_loop is None else _classes(runner.val_dataloader)
        if train is not None and held_out is not None and list(train) != list(held_out):
            differ = sorted(set(train) ^ set(held_out))
            raise ClassMismatchError(
                f'training and validation images have different classes ({", ".join(differ[:5]) or "another order"}): '
                'labels would not mean the same. Name them for both, with dataset.metainfo.classes, or complete the '
                'folders'
            )
        if not getattr(getattr(model, 'backbone', None), 'init_cfg', None) and not runner.iter:
            print_log(
                'The encoder starts from its random initialisation (pretrained=PATH names a checkpoint).', 'current'
            )


def _classes(loader: Any) -> Optional[Sequence[str]]:
    return (getattr(loader.dataset, 'metainfo', None) or {}).get('classes')
