"""Commands that mend, and what an error message means."""

import importlib.util
import os
import re
import shutil
import sys
import sysconfig
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from . import place
from .distributions import FAMILIES, PARTS, upstream


class Remedies:
    """Commands for this interpreter, given what is installed and what was tested."""

    def __init__(self, installed: Dict[str, str], tested: Dict[str, str]) -> None:
        self.installed, self.tested = installed, tested

    def pip(self, *names: str, options: str = '') -> str:
        """``pip install`` of tested versions."""
        constraints = os.path.join(place.REQUIREMENTS, 'constraints.txt')
        pins = f' -c {place.short(constraints)}' if os.path.exists(constraints) else ''
        return f'{place.python()} -m pip install{options and " " + options}{pins} {" ".join(names)}'

    def uninstall(self, *names: str) -> str:
        return f'{place.python()} -m pip uninstall -y {" ".join(names)}'

    def part(self, name: str) -> List[str]:
        """Install, or install again, what brings a part of ``PARTS``."""
        part = next(part for part in PARTS if part.name == name)
        if part.module == 'mmmim':
            return [self.mmmim()]
        if part.module in FAMILIES:
            return self.toolboxes(part.module)
        if name in ('torch', 'torchvision'):
            return [self.pip('torch', 'torchvision', options=self._again('torch', 'torchvision'))]
        if name == 'opencv':
            return self.opencv()
        return [self.pip(part.distributions[0], options=self._again(*part.distributions))]

    def _again(self, *distributions: str) -> str:
        """What is installed already pip would leave as it is."""
        return '--force-reinstall' if any(name in self.installed for name in distributions) else ''

    def toolboxes(self, *modules: str) -> List[str]:
        """Tested distributions for these import names; upstream releases, which own the same folders, go first."""
        old = upstream(self.installed)
        if old:  # the family must be one, so its other members are replaced too
            modules = tuple(
                module
                for module, names in FAMILIES.items()
                if module in modules or any(name in self.installed for name in names)
            )
            old = [name for module in modules for name in FAMILIES[module] if name in self.installed]
        names = [FAMILIES[module][0] for module in modules]
        there = [] if old else [name for name in names if name in self.installed]
        commands = [self.uninstall(*old)] if old else []
        if 'mmcv' in modules:
            commands.append(self.no_ops())
        torn = [name for name in there if name != 'onedl-mmcv']
        if torn:
            commands.append(self.pip(*torn, options='--force-reinstall --no-deps'))
        return [*commands, self.pip(*names)]  # and what they depend on

    def opencv(self) -> List[str]:
        names = next(part.distributions for part in PARTS if part.name == 'opencv')
        old = [name for name in names if name in self.installed]
        return ([self.uninstall(*old)] if old else []) + [self.pip('numpy', 'opencv-python')]

    def numpy(self, name: str) -> List[str]:
        """The tested NumPy, and anew the part that was built for another."""
        if name == 'opencv':
            return self.opencv()
        part = next((part for part in PARTS if part.name == name), None)
        again = [self.pip(part.distributions[0], options='--force-reinstall --no-deps')] if part else []
        return [self.pip('numpy')] + (again if name not in ('numpy', 'torch', 'mmmim') else [])

    def torch_pair(self) -> List[str]:
        return [self.pip('torch', 'torchvision', options='--force-reinstall')]

    def torch_for_older_driver(self) -> List[str]:
        """The tested versions, built for CUDA 12.6: for drivers and GPUs that the default build no longer serves."""
        names = [f'{name}=={self.tested[name]}' if name in self.tested else name for name in ('torch', 'torchvision')]
        return [
            self.uninstall('torch', 'torchvision'),
            f'{place.python()} -m pip install {" ".join(names)} --index-url https://download.pytorch.org/whl/cu126',
        ]

    def compiled_ops(self) -> List[str]:
        """Ops for the torch that is installed, compiled or from the user's cache."""
        if place.in_own_venv():
            return [
                f'bash {place.short(os.path.join(place.TOOLS, "setup_env.sh"))} detection'
                '    # compiles them in 5 to 10 minutes on 2 cores, once'
            ]
        old = upstream(self.installed)
        return [
            *(self.toolboxes('mmcv') if old else []),
            self.pip('ninja', 'setuptools', 'wheel'),
            f'{place.python()} {place.short(os.path.join(place.TOOLS, "build_ops.py"))}'
            '    # 5 to 10 minutes on 2 cores, once',
        ]

    def detection(self) -> List[str]:
        """mmdetection and the ops."""
        if place.in_own_venv():
            return [
                f'bash {place.short(os.path.join(place.TOOLS, "quickstart.sh"))} --detection'
                '    # trains one too; only installed by: bash '
                f'{place.short(os.path.join(place.TOOLS, "setup_env.sh"))} detection'
            ]
        return self.compiled_ops() + self.toolboxes('mmdet')

    def no_ops(self) -> str:
        """mmcv as pre-training needs it. Not from pip's cache: that wheel may have ops, built for another torch."""
        again = ' --force-reinstall' if 'onedl-mmcv' in self.installed else ''
        return self.pip('onedl-mmcv', options='--no-cache-dir --no-deps' + again)

    def mmmim(self) -> str:
        if place.INSTALLED:
            return f'{place.python()} -m pip install --force-reinstall --no-deps mmmim'
        isolated = '' if 'setuptools' not in self.installed else ' --no-build-isolation'
        return f'{place.python()} -m pip install --no-deps{isolated} -e {place.short(place.ROOT)}'

    def apt(self, *packages: str) -> List[str]:
        sudo = '' if getattr(os, 'geteuid', lambda: 1)() == 0 else 'sudo '
        if shutil.which('apt-get'):
            return [f'{sudo}apt-get update && {sudo}apt-get install -y {" ".join(packages)}']
        return [f"install what Debian calls {' and '.join(packages)}, by this system's package manager"]

    def another_python(self) -> List[str]:
        if place.CHECKOUT:
            setup = place.short(os.path.join(place.TOOLS, 'setup_env.sh'))
            return [f'PYTHON=/path/to/python3.11 bash {setup}    # makes .venv, with everything']
        return ['python3.11 -m venv mmmim_env    # then install there']

    def own_environment(self) -> Optional[List[str]]:
        """Where pip may not install into this interpreter: how to get one where it may."""
        managed = os.path.join(sysconfig.get_path('stdlib'), 'EXTERNALLY-MANAGED')
        if sys.prefix == sys.base_prefix and os.path.exists(managed):
            if place.CHECKOUT:
                setup = place.short(os.path.join(place.TOOLS, 'setup_env.sh'))
                return [f'bash {setup}    # makes .venv, with everything']
            return [f'{place.python()} -m venv mmmim_env    # then install there']
        if importlib.util.find_spec('pip') is None:
            return [f'{place.python()} -m ensurepip --upgrade']
        return None


class Rule(NamedTuple):
    """What an error message that matches ``pattern`` means, and what mends it."""

    pattern: str
    meaning: str
    mend: Callable[[Remedies, 're.Match', str], List[str]]  # the last is the row's name


LIBRARIES = {
    'libGL.so.1': 'libgl1',
    'libgthread-2.0.so.0': 'libglib2.0-0',
    'libglib-2.0.so.0': 'libglib2.0-0',
    'libSM.so.6': 'libsm6',
    'libXext.so.6': 'libxext6',
    'libXrender.so.1': 'libxrender1',
    'libxcb.so.1': 'libxcb1',
    'libgomp.so.1': 'libgomp1',
    'libstdc++.so.6': 'libstdc++6',
}

# in the order of looking: the particular before the general
RULES = (
    Rule(
        r'No space left on device|Errno 28',
        'the disk is full',
        lambda r, m, name: ['make room (df -h), then try again'],
    ),
    Rule(
        r'(lib(?:GL|gthread-2|glib-2|SM|Xext|Xrender|xcb|gomp|stdc\+\+)\S*\.so\.\d+): cannot open',
        'the system library {1} is missing',
        lambda r, m, name: r.apt(LIBRARIES.get(m[1], m[1])),
    ),
    Rule(
        r'mmcv/(?:ops|utils/ext_loader)[\s\S]*lib(?:c10|torch|cudart)\S*: cannot open|mmcv\W_ext\S*: undefined symbol|'
        r'mmcv/_ext\S*\.so',
        "mmcv's compiled ops were built for another torch",
        lambda r, m, name: [*r.compiled_ops(), r.no_ops() + '    # instead, in seconds, if not for detection'],
    ),
    Rule(
        r'lib(cudart|cublas\w*|cudnn\w*|nccl|cufft|cusparse\w*|nvrtc|torch\w*|c10\w*)[\w.-]*\.so[\w.]*: cannot open',
        "a library of torch's own (lib{1}) is missing",
        lambda r, m, name: r.torch_pair(),
    ),
    Rule(
        r'operator torchvision::\w+ does not exist|torchvision\S* requires torch|torchvision/\S*: undefined symbol|'
        r"Couldn't load custom C\+\+ ops",
        'torch and torchvision do not belong together (a CPU-only torch has no matching torchvision)',
        lambda r, m, name: r.torch_pair(),
    ),
    Rule(
        r'compiled using NumPy 1|_ARRAY_API not found|numpy\.core\.multiarray failed|ABI version 0x|'
        r'numpy\.dtype size changed|Numpy is not available',
        'it was built for another NumPy than the one installed',
        lambda r, m, name: r.numpy(name),
    ),
    Rule(
        r'driver on your system is too old',
        "the NVIDIA driver is older than torch's CUDA build needs",
        lambda r, m, name: r.torch_for_older_driver(),
    ),
    Rule(
        r'no kernel image is available|not compatible with the current PyTorch',
        "this torch has no code for this GPU's generation",
        lambda r, m, name: r.torch_for_older_driver(),
    ),
    Rule(
        r'MMCV==(\S+) is used but incompatible|MMEngine==(\S+) is used but incompatible',
        'releases of two OpenMMLab families or ages are mixed',
        lambda r, m, name: r.toolboxes('mmengine', 'mmcv'),
    ),
    Rule(
        r"No module named 'mmcv\._ext'", 'mmcv is installed without compiled ops', lambda r, m, name: r.compiled_ops()
    ),
    Rule(
        r"No module named 'pkg_resources'",
        'setuptools is missing, or too new',
        lambda r, m, name: [r.pip('setuptools')],
    ),
    Rule(
        r'No working C\+\+ compiler|InvalidCxxCompiler|Failed to find C compiler|g\+\+: (command )?not found',
        'there is no C++ compiler',
        lambda r, m, name: r.apt('g++'),
    ),
    Rule(
        r'Python\.h: No such file',
        'the headers of Python are missing',
        lambda r, m, name: r.apt('python%d.%d-dev' % sys.version_info[:2]),
    ),
    Rule(r'SIGILL', 'it uses instructions that this processor does not have', lambda r, m, name: []),
    Rule(
        r'SIGKILL',
        'it was killed; probably there is too little memory',
        lambda r, m, name: ['free -g    # see what is left'],
    ),
)


class Diagnosis(NamedTuple):
    reason: str
    mend: List[str]


def diagnose(name: str, answer: Dict[str, Any], remedies: Remedies) -> Optional[Diagnosis]:
    """What a failed answer means, by the first rule that its messages match; None when none does."""
    text = '\n'.join(str(answer.get(key) or '') for key in ('error', 'cause', 'kind', 'trace'))
    for rule in RULES:
        match = re.search(rule.pattern, text)
        if match:
            groups = {str(i): group or '' for i, group in enumerate(match.groups(), 1)}
            reason = re.sub(r'\{(\d)\}', lambda m: groups[m[1]], rule.meaning)
            return Diagnosis(reason, rule.mend(remedies, match, name))
    return None
