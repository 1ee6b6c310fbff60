"""A machine for the set-up scripts: imitations of Python, pip, apt-get, ldconfig and df."""

import shutil
import subprocess
from pathlib import Path

from harness import ROOT

REAL_TOOLS = (
    'awk basename bash cat cksum cp cut dirname du find flock grep head id mkdir mv rm sed sort tail tee touch tr uname'
).split()

PYTHON = r"""#!{bash}
echo "$(basename "$0") $*" >> '{log}'
site=$(dirname "$0")/../lib/python{version}/site-packages
pin() {{ sed -n "s/^$1==//p" constraints.txt; }}
case "$*" in
    *version_info*) echo '{version}';;
    *ensurepip*) {ensurepip};;
    *ctypes*) exit 1;;
    '-m venv'*)
        for target; do :; done
        case "$*" in *--clear*) rm -rf "$target";; esac
        mkdir -p "$target/bin"
        cp "$0" "$target/bin/python"
        echo 'version = {version}.1' > "$target/pyvenv.cfg"
        echo "VIRTUAL_ENV=\"$target\"" > "$target/bin/activate";;
    '-m pip install'*)
        if [ -e '{offline}' ]; then cat '{offline}' >&2; exit 1; fi
        case "$*" in
            *' onedl-mmcv') # like pip, which leaves the right release as it is
                new=$site/onedl_mmcv-$(pin onedl-mmcv).dist-info
                if [ ! -e "$new" ]; then rm -rf "$site"/onedl_mmcv-*; mkdir -p "$new"; echo mmcv > "$new/RECORD"; fi;;
        esac;;
esac
"""


class Machine:
    """A checkout, and a PATH that holds only imitations, in a temporary folder.

    The file ``offline`` makes pip fail with its words.
    """

    def __init__(self, folder: Path):
        self.folder, self.bin = folder, folder / 'bin'
        self.checkout = folder / 'a checkout'
        self.log, self.offline = folder / 'calls.log', folder / 'offline'
        self.bin.mkdir()
        for tool in REAL_TOOLS:
            found = shutil.which(tool)
            if found:
                (self.bin / tool).symlink_to(found)
        for part in ('tools', 'requirements'):
            (self.checkout / part).mkdir(parents=True)
        for file in (
            'setup.py',
            'pyproject.toml',
            'tools/setup_env.sh',
            'tools/quickstart.sh',
            'tools/run_tests.sh',
        ):
            shutil.copy(ROOT / file, self.checkout / file)
        for file in (ROOT / 'requirements').glob('*.txt'):
            shutil.copy(file, self.checkout / 'requirements')
        self.libraries()
        self.disk(100_000)

    def write(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)

    def python(self, name: str = 'python3.11', version: str = '3.11', ensurepip: bool = True) -> None:
        self.write(
            name,
            PYTHON.format(
                bash=shutil.which('bash'),
                log=self.log,
                version=version,
                offline=self.offline,
                ensurepip='exit 0' if ensurepip else 'exit 1',
            ),
        )

    def libraries(self, *names: str) -> None:
        names = names or ('libGL.so.1', 'libgthread-2.0.so.0')
        self.write('ldconfig', f'#!{shutil.which("bash")}\nprintf "%s\\n" {" ".join(names)}\n')

    def disk(self, megabytes: int) -> None:
        self.write('df', f'#!{shutil.which("bash")}\necho title\necho /dev/x 1 1 {megabytes} 1% /\n')

    def run(self, *arguments: str, script: str = 'setup_env.sh', **variables: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [shutil.which('bash'), str(self.checkout / 'tools' / script), *arguments],
            text=True,
            capture_output=True,
            timeout=60,
            cwd=self.folder,
            env=dict(PATH=str(self.bin), HOME=str(self.folder), **variables),
        )

    def calls(self, containing: str = '-m pip install') -> list:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if containing in line]

    @property
    def site(self) -> Path:
        return next((self.checkout / '.venv/lib').glob('python*')) / 'site-packages'

    def replace(self, file: str, old: str, new: str) -> None:
        path = self.checkout / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def forget(self) -> None:
        self.log.unlink(missing_ok=True)
