"""Installs mmmim, and nothing else.

The OpenMMLab toolboxes exist under two families of distribution names (upstream and onedl-*) that own the same folders,
and torch comes in many builds: installing any of them here could break what is there. ``import mmmim`` names what is
missing, ``mmmim doctor`` says how to install it; ``requirements/`` lists what was tested.

The folders ``tools``, ``configs`` and ``requirements`` are installed as ``mmmim_tools``, ``mmmim_configs`` and
``mmmim_requirements``: beside the package and not in it, so that the command ``mmmim`` starts where ``import mmmim``
does not work yet.
"""

import pathlib
import re

from setuptools import find_namespace_packages, find_packages, setup

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(r"__version__ = '(.+)'", (ROOT / 'mmmim/version.py').read_text()).group(1)
FOLDERS = ('tools', 'configs', 'requirements')


def with_subfolders(folder: str) -> list:
    inner = find_namespace_packages(str(ROOT / folder), exclude=['*__pycache__*'])
    return [f'mmmim_{folder}', *(f'mmmim_{folder}.{name}' for name in inner)]


setup(
    name='mmmim',
    version=VERSION,
    description='Masked-image-modelling pre-training for the OpenMMLab toolboxes',
    long_description=(ROOT / 'README.md').read_text() if (ROOT / 'README.md').exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=[
        *find_packages(include=['mmmim', 'mmmim.*']),
        *(name for folder in FOLDERS for name in with_subfolders(folder)),
    ],
    package_dir={f'mmmim_{folder}': folder for folder in FOLDERS},
    package_data={'': ['*.css', '*.html', '*.js', '*.json', '*.md', '*.png', '*.sh', '*.txt', '*.yml']},
    entry_points=dict(console_scripts=['mmmim = mmmim_tools.cli:main']),
    python_requires='>=3.10,<3.14',
)
