"""Masked-image-modelling pre-training for the OpenMMLab toolboxes."""
from . import registry  # noqa: F401  (makes `mmmim.X` known to every OpenMMLab config)
from .checkpoint import install_safe_loader
from .version import __version__

install_safe_loader()

__all__ = ['__version__']
