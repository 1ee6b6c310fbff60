"""Turn the probes' answers into rows of the table, and commands that fix what is broken."""

import importlib.util
import os
import re
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any, NamedTuple

from .installed import BY_MODULE, CHECKOUT, CONSTRAINTS, FAMILIES, Part, Row, short

Answer = dict[str, Any]
Verdict = tuple[str, str, list[str]]  # status, detail, commands
NOT_TRIED: Answer = dict(ok=False, missing='torch', error='needs torch')


def major(version: str | None) -> int:
    return int((version or '0').partition('.')[0])


# patterns of error messages, specific ones before general ones; `Remedies.diagnose` explains them
PATTERNS = dict(
    disk=r'No space left on device|Errno 28',
    library=r'(lib(?:GL|gthread-2|glib-2|SM|Xext|Xrender|xcb|gomp|stdc\+\+)\S*\.so\.\d+): cannot open',
    ops=r'mmcv/(?:ops|utils/ext_loader)[\s\S]*lib(?:c10|torch|cudart)\S*: cannot open|mmcv\W_ext\S*\.so',
    torch=r'(lib(?:cu|nccl|nvrtc|torch|c10)[\w.-]*\.so[\w.]*): cannot open',
    pair=r'torchvision::\w+ does not exist|torchvision\S*(?: requires torch|: undefined)|load custom C\+\+ ops',
    numpy=r'using NumPy 1|_ARRAY_API|numpy\.core\.multiarray|ABI version 0x|dtype size changed|Numpy is not available',
    gpu=r'driver on your system is too old|no kernel image is available|not compatible with the current PyTorch',
    mixed=r'MM(?:CV|Engine)==\S+ is used but incompatible',
    setuptools=r"No module named 'pkg_resources'",
    compiler=r'No working C\+\+ compiler|InvalidCxxCompiler|Failed to find C compiler|Python\.h: No such file',
)


class Gpu(NamedTuple):
    """Whether there is an NVIDIA GPU; the GPUs that the driver shows, and its newest CUDA release."""

    present: bool = False
    names: tuple[str, ...] = ()
    cuda: str = ''


def setup(before: str = '') -> str:
    """The command that creates this checkout's own environment; by hand without a checkout."""
    made = f'{before}bash {short(f"{CHECKOUT}/tools/setup_env.sh")}    # makes .venv, with everything'
    return made if CHECKOUT else 'python3.11 -m venv mmmim_env    # then install there'


class Remedies:
    """Commands for this interpreter, given what is installed and what was tested."""

    def __init__(self, installed: dict[str, str], tested: dict[str, str]) -> None:
        self.installed, self.tested, self.python = installed, tested, short(sys.executable)

    def pip(self, *names: str, options: str = '') -> str:
        """``pip install`` of tested versions."""
        pins = f' -c {short(CONSTRAINTS)}' if os.path.exists(CONSTRAINTS) else ''
        return f'{self.python} -m pip install{options and " " + options}{pins} {" ".join(names)}'

    def mmcv(self) -> str:
        """Without compiled ops, and not from pip's cache: that wheel may have some, built for another torch."""
        return self.pip('onedl-mmcv', options='--force-reinstall --no-cache-dir --no-deps')

    def mmmim(self) -> str:
        isolated = ' --no-build-isolation' if 'setuptools' in self.installed else ''
        what = f'--no-deps{isolated} -e {short(CHECKOUT)}' if CHECKOUT else '--force-reinstall --no-deps mmmim'
        return f'{self.python} -m pip install {what}'

    def torch(self, cuda: str = '') -> list[str]:
        """Reinstall torch and torchvision; for an older CUDA where the default build does not support driver or GPU."""
        options = '--force-reinstall' + (f' --extra-index-url https://download.pytorch.org/whl/{cuda}' if cuda else '')
        return [self.pip('torch', 'torchvision', options=options)]

    def install(self, *modules: str) -> list[str]:
        """Install, or reinstall, the distributions of these import names.

        Those that own the same folders are removed first: all of OpenMMLab if some of it is upstream's, and all
        OpenCVs.
        """
        upstream = any(name in self.installed for names in FAMILIES.values() for name in names[1:])
        mixed = upstream and not FAMILIES.keys().isdisjoint(modules)
        there = [module for module, names in FAMILIES.items() if mixed and not self.installed.keys().isdisjoint(names)]
        parts = [BY_MODULE[module] for module in dict.fromkeys([*there, *modules])]
        gone = [part for part in parts if part.module == 'cv2' or mixed and part.module in FAMILIES]
        old = [name for part in gone for name in part.distributions if name in self.installed]
        names = [part.distributions[0] for part in parts if part.name != 'mmmim']
        again = [name for name in names if name in self.installed and name not in (*old, 'onedl-mmcv')]
        commands = [f'{self.python} -m pip uninstall -y {" ".join(old)}'] if old else []
        commands += [self.mmcv()] if 'onedl-mmcv' in names else []
        commands += [self.pip(*again, options='--force-reinstall --no-deps')] if again else []
        commands += [self.pip(*names)] if names else []  # with their dependencies
        return commands + ([self.mmmim()] if 'mmmim' in modules else [])

    def system(self, library: str) -> list[str]:
        """Debian's package for a shared library (libGL.so.1 is in libgl1), or a package by its name."""
        package = 'libglib2.0-0' if library.startswith(('libgth', 'libgl')) else library.lower().replace('.so.', '')
        sudo = '' if os.geteuid() == 0 else 'sudo '
        command = f'{sudo}apt-get update && {sudo}apt-get install -y {package}'
        return [command if shutil.which('apt-get') else f'install what Debian calls {package}']

    def own_environment(self) -> str:
        """If pip may not install into this interpreter: the command that creates one where it may."""
        managed = os.path.join(sysconfig.get_path('stdlib'), 'EXTERNALLY-MANAGED')
        if sys.prefix == sys.base_prefix and os.path.exists(managed):
            return setup()
        return '' if importlib.util.find_spec('pip') else f'{self.python} -m ensurepip --upgrade'

    def diagnose(self, answer: dict[str, Any], part: Part | None) -> tuple[str, list[str]] | None:
        """The cause of a failed answer and the commands that fix it, by the first matching rule; None without one."""
        text = '\n'.join(str(answer.get(key) or '') for key in ('error', 'cause', 'kind', 'trace'))
        matches = ((name, re.search(pattern, text)) for name, pattern in PATTERNS.items())
        name, match = next((found for found in matches if found[1]), ('', None))
        again = [part.module] if part else []
        meanings = dict(
            disk=lambda: ('the disk is full', ['df -h    # make room, then try again']),
            library=lambda: (f'the system library {match[1]} is missing', self.system(match[1])),
            ops=lambda: ("mmcv's compiled ops were built for another torch", [self.mmcv() + '    # without them']),
            torch=lambda: (f"torch's own library {match[1]} is missing", self.torch()),
            pair=lambda: ('torch and torchvision do not belong together', self.torch()),
            numpy=lambda: (
                'it was built for another NumPy than the one installed',
                [self.pip('numpy'), *self.install(*again)],
            ),
            gpu=lambda: ("this torch is not built for this driver, or this GPU's generation", self.torch('cu126')),
            mixed=lambda: ('releases of two OpenMMLab families are mixed', self.install('mmengine', 'mmcv')),
            setuptools=lambda: ('setuptools is missing, or too new', [self.pip('setuptools')]),
            compiler=lambda: ("a C++ compiler and Python's headers are needed", self.system('g++ python3-dev')),
        )
        return meanings[name]() if match else None


class Findings:
    """Rows from answers; the meaning of an answer can depend on the other installed parts."""

    def __init__(self, remedies: Remedies, gpu: Gpu) -> None:
        self.remedies, self.installed, self.gpu, self.rows = remedies, remedies.installed, gpu, dict[str, Row]()

    def part(self, part: Part, answer: Answer) -> Row:
        """Call it in the order of ``PARTS``: dependencies come first."""
        names = [name for name in part.distributions if name in self.installed]
        version = self.installed[names[0]] if names else answer.get('version') or ''
        tested = self.remedies.tested.get(part.distributions[0], '')
        judge = self._works if answer['ok'] else self._fails
        status, detail, mend = judge(part, answer, names)
        if part.module in FAMILIES and len(names) > 1:
            detail = f'{" and ".join(names)} own the same folder: one of them is overwritten'
            status, mend = 'broken', self.remedies.install(part.module)
        elif status == 'ok' and tested and version.partition('+')[0] != tested:
            status, detail = 'note', 'not the tested version'
        found = Row('installed', part.name, status, detail, tuple(mend), version, tested, answer.get('trace', ''))
        return self.rows.setdefault(part.name, found)

    def _works(self, part: Part, answer: Answer, names: list[str]) -> Verdict:
        if answer.get('ops'):
            detail = f"its compiled ops do not fit this torch, torchvision's are used: {answer['ops']}"
            return 'note', detail, [self.remedies.mmcv() + '    # without them']
        if part.name == 'transformers' and major(self.installed.get('transformers')) >= 5:
            return 'note', "too new for mmpretrain's multimodal models", [self.remedies.pip('transformers')]
        if part.name == 'mmmim' and CHECKOUT and Path(CHECKOUT).resolve() not in Path(answer['file']).resolve().parents:
            where = os.path.dirname(answer['file'])
            return 'note', f'this Python imports {where}, not this checkout', [self.remedies.mmmim()]
        if len({self.installed[name] for name in names}) > 1:  # detection brings a second OpenCV, of the same release
            again = self.remedies.pip(*names, options='--force-reinstall --no-deps')
            return 'note', f'{" and ".join(names)} own the same folder, and are of different releases', [again]
        if names and names[0] != part.distributions[0] and part.module in FAMILIES:
            return 'note', f'upstream; tested is {part.distributions[0]}', []
        return 'ok', '', []

    def _fails(self, part: Part, answer: Answer, names: list[str]) -> Verdict:
        missing, again = answer.get('missing'), self.remedies.install(part.module)
        if (missing == part.module or answer is NOT_TRIED) and not names:
            return 'absent', f'not installed; for {part.purpose}', again
        if missing == part.module:
            return 'broken', 'half installed: pip knows it, but its files are not there', again
        reason = f'needs {missing}, which is not installed' if missing else shown(answer)
        return self._explained(part, answer) or ('broken', reason, again)

    def _explained(self, part: Part | None, answer: Answer) -> Verdict | None:
        """Explain a failure by another part that has its own row (and fix), or by a known message."""
        trace, missing = answer.get('trace', ''), answer.get('missing')
        for other in BY_MODULE.values():
            broken = other.name in self.rows and self.rows[other.name].status == 'broken'
            used = broken and re.search(rf'import {other.module}\b|[/\\]{other.module}[/\\]', trace)
            if other != part and (other.module == missing or used):
                return 'broken', f'needs {other.name}', []
        too_new = major(self.installed.get('transformers')) >= 5 and re.search('transformers|multimodal', trace)
        if part and part.name == 'mmpretrain' and too_new:
            return 'note', 'transformers 5 is too new for its multimodal models', [self.remedies.pip('transformers')]
        found = self.remedies.diagnose(answer, part)
        return ('broken', *found) if found else None

    def work(self, name: str, answer: Answer, torch: Answer) -> Row:
        """Call it after all parts."""
        absent = [part for part, row in self.rows.items() if row.status == 'absent']
        doctor = short(f'{CHECKOUT}/tools/doctor.py') if CHECKOUT else '-m mmmim doctor'
        again = f'{self.remedies.python} {doctor} --json --only {name!r}    # shows all'
        verdict = self._gpu(torch) if name == 'GPU' and not answer['ok'] else None
        if answer['ok'] and name == 'pre-training' and 'mmmim' in absent:
            reason = f'{answer["detail"]}, but from the checkout only: this Python does not find mmmim'
            verdict = 'broken', reason, [self.remedies.mmmim()]
        elif answer['ok']:
            verdict = 'ok', answer['detail'], []
        elif name == 'detection' and 'mmdetection' in absent:
            verdict = 'absent', 'mmdetection is not installed', self.remedies.install('mmdet')
        status, detail, mend = verdict or self._explained(None, answer) or ('broken', shown(answer), [again])
        return Row('works', name, status, detail, tuple(mend), trace=answer.get('trace', ''))

    def _gpu(self, torch: Answer) -> Verdict | None:
        cuda, hidden = torch.get('cuda'), os.environ.get('CUDA_VISIBLE_DEVICES')
        if not self.gpu.present:
            return 'absent', 'none here: everything runs on the CPU', []
        if not self.gpu.names:
            cure = 'nvidia-smi    # install or reload the driver until it shows the GPU; docker run --gpus all ...'
            return 'broken', 'the machine has an NVIDIA GPU that nvidia-smi does not show', [cure]
        if torch['ok'] and not cuda:
            return 'broken', 'this torch is a build for the CPU only', self.remedies.torch()
        if 0 < major(self.gpu.cuda) < major(cuda):
            reason = f'the driver runs CUDA up to {self.gpu.cuda}, this torch needs {cuda}: update it, or change torch'
            return 'broken', reason, self.remedies.torch('cu126')
        if hidden is not None and not re.search(r'(^|,)\s*(\d|GPU|MIG)', hidden):
            return 'note', f'hidden by CUDA_VISIBLE_DEVICES={hidden!r}', ['unset CUDA_VISIBLE_DEVICES']
        return None


def shown(answer: Answer) -> str:
    """An error in one line; with its first cause if a library hid it."""
    error, cause = (' '.join(str(answer.get(key) or '').split()) for key in ('error', 'cause'))
    text = error if cause in ('', error) else f'{error} ({cause})'
    return text if len(text) <= 300 else text[:297] + '...'
