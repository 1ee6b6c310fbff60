"""What a naming scheme is: how one project names the parameters of its encoder and of what stands beside it."""

from typing import Collection, List, Optional, Tuple

from torch import Tensor

from ..read import StateDict

# A state dict in the names of another project, and those of our names that it cannot represent.
Translated = Tuple[StateDict, List[str]]


class Scheme:
    """The names in the files of one project.

    A subclass in a file of its own, and its line in ``schemes/__init__.py``, are all that a project needs.

    Attributes:
        name: In messages, and as `mmmim convert --to NAME`.
        beside: Regular expression of names beside the encoder that are known to be no part of it, besides those of
            every project.
        can_write: Whether :meth:`from_ours` is there.
        several_class_tokens: Whether its models may have more than one.
        wrapper: The key under which the project's own code expects the state dict in a file; empty for none.
    """

    name: str
    can_write = False
    several_class_tokens = False
    wrapper = ''
    beside = ''

    def recognises(self, names: Collection[str]) -> bool:
        """Whether these are the names of a network of this project, without anything in front of them."""
        raise NotImplementedError

    def absent_positions(
        self, names: Collection[str], width: int, grid: Tuple[int, int], prefix: int
    ) -> Optional[Tensor]:
        """The fixed position table ``[1, prefix + h * w, width]`` that the project computes and a file may lack.

        Args:
            names: Ours, of the whole file: they tell which of the project's networks it is.
            width: Channels of the tokens.
            grid: (h, w) patches.
            prefix: Number of rows of zeros before those of the patches.

        Returns:
            None if the network learns its positions: then a table that is missing is an error.
        """
        return None

    def to_ours(self, state: StateDict) -> StateDict:
        """Our names: the encoder under ``backbone.`` in timm's names, a decoder under ``neck.``; others as they are.

        Values are copied, joined or reordered, never computed. May empty ``state``, to save memory.
        """
        raise NotImplementedError

    def from_ours(self, ours: StateDict) -> Translated:
        """The inverse of :meth:`to_ours`: ``(state, names that have no place)``."""
        raise NotImplementedError
