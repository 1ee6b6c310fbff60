"""Installs mmmim, and nothing else.

The OpenMMLab toolboxes exist under two families of distribution names (upstream and onedl-*) that own the same folders,
and torch comes in many builds: installing any of them here could break what is there. ``import mmmim`` names what is
missing; ``requirements/`` lists what was tested.
"""
import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(r"__version__ = '(.+)'", (ROOT / 'mmmim/version.py').read_text()).group(1)

setup(
    name='mmmim',
    version=VERSION,
    description='Masked-image-modelling pre-training for the OpenMMLab toolboxes',
    long_description=(ROOT / 'README.md').read_text() if (ROOT / 'README.md').exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmmim', 'mmmim.*']),
    python_requires='>=3.10,<3.13',
)
