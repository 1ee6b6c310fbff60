"""What mmmim is called, needs and installs; pyproject.toml has the settings of the tools.

A wheel holds the package alone. The folders ``configs`` and ``requirements`` of a checkout are installed inside it, as
``mmmim/configs`` and ``mmmim/requirements``; :mod:`mmmim.config.paths` knows both places.
"""

import pathlib
import re

from setuptools import find_namespace_packages, find_packages, setup

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(r"__version__ = '(.+)'", (ROOT / 'mmmim/version.py').read_text()).group(1)
DATA = ('configs', 'requirements')
BUILD = ('setuptools', 'wheel')  # for the editable installation of a checkout


def requirements(name: str) -> list:
    """The lines of ``requirements/NAME.txt``, without comments and pip's options."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith(('#', '-', *BUILD))]


def with_subfolders(folder: str) -> list:
    inner = find_namespace_packages(str(ROOT / folder), exclude=['*__pycache__*'])
    return [f'mmmim.{folder}', *(f'mmmim.{folder}.{name}' for name in inner)]


toolboxes, optional, tiff, baseline, export = (
    requirements(name) for name in ('openmmlab', 'optional', 'tiff', 'baseline', 'export')
)
detection = [*toolboxes, *requirements('detection')]

setup(
    name='mmmim',
    version=VERSION,
    description='Masked-image-modelling pre-training for MMEngine and the OpenMMLab toolboxes',
    long_description=(ROOT / 'README.md').read_text() if (ROOT / 'README.md').exists() else '',
    long_description_content_type='text/markdown',
    author='The mmmim authors',
    license='Apache-2.0',
    keywords='masked image modeling, self-supervised learning, pre-training, MAE, vision transformer, OpenMMLab',
    project_urls={
        'MAE': 'https://arxiv.org/abs/2111.06377',
        'CMAE': 'https://arxiv.org/abs/2207.13532',
        'MMEngine': 'https://github.com/open-mmlab/mmengine',
    },
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Intended Audience :: Developers',
        'License :: OSI Approved :: Apache Software License',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        *(f'Programming Language :: Python :: 3.{minor}' for minor in (10, 11, 12, 13)),
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    packages=[
        *find_packages(include=['mmmim', 'mmmim.*']),
        *(name for folder in DATA for name in with_subfolders(folder)),
    ],
    package_dir={f'mmmim.{folder}': folder for folder in DATA},
    package_data={'': ['*.css', '*.j2', '*.json', '*.md', '*.txt', '*.yml']},
    entry_points=dict(console_scripts=['mmmim = mmmim.cli:main']),
    python_requires='>=3.10,<3.14',
    install_requires=requirements('runtime'),
    extras_require=dict(
        toolboxes=toolboxes,
        detection=detection,
        baseline=baseline,
        export=export,
        tiff=tiff,
        tests=[*detection, *optional, *tiff, *baseline, *export, *requirements('tests')],
        all=[*detection, *optional, *tiff, *baseline, *export],
    ),
)
