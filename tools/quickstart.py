"""What tools/quickstart.sh does once the environment is there: measure, pre-train, measure again, compare."""
import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, Optional

from mmengine.config import DictAction

from mmmim.apis.pretrain import is_finished, newest_checkpoint, write_config
from mmmim.engine.launch import USER_ERRORS
from mmmim.progress import mode
from mmmim.visualization.report_page import write_report

ROOT = Path(__file__).resolve().parent.parent
SCENES = ROOT / 'data/scenes'
EXIT_ASKED_TO_STOP = 75  # of tools/train.py, after it has saved
STAGES = 6
MEASURES = (('held_out/recon_loss', 'reconstruction loss, held out', '{:.4f}'),
            ('knn/top1_k20', 'k-NN accuracy (k = 20), held out', '{:.1f}%'),
            ('linear/top1', 'linear probe, held out', '{:.1f}%'))


def say(message: str) -> None:
    print(f'[quickstart] {message}', flush=True)


def stage(number: int, message: str) -> None:
    say(f'{number}/{STAGES} {message}')


def work_dir_for(folder: Optional[str]) -> Path:
    """The same for the same folder; another folder of the same name gets a suffix."""
    if folder is None:
        return ROOT / 'work_dirs/quickstart'
    name = 'quickstart_' + (re.sub(r'[^A-Za-z0-9-]+', '_', os.path.basename(folder)).strip('_') or 'images')
    config = ROOT / 'work_dirs' / name / 'pretrain.py'
    lines = config.read_text().splitlines() if config.exists() else [f'data_root = {folder!r}']
    if not any(line.split('  #')[0] == f'data_root = {folder!r}' for line in lines):
        name += '_' + hashlib.sha256(os.fsencode(folder)).hexdigest()[:6]
    return ROOT / 'work_dirs' / name


class Tools:
    """Runs our tools as processes of their own: their progress is shown, what they print goes to a log file."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.process: Optional[subprocess.Popen] = None
        self.stopped_by = 0
        self.starting = False  # or running: then a signal is handed on, as soon as there is a process
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, self._stop)

    def _stop(self, signum: int, frame: object) -> None:
        again, self.stopped_by = self.stopped_by, signum
        if again or not self.starting:
            say('stopped; the same command continues')
            sys.exit(128 + signum)
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)  # which training answers by saving

    def run(self, *arguments: str) -> None:
        """Run ``python ARGUMENTS``; ends this process if it fails or is stopped."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # plain lines where there is no terminal, so that a log of this script shows how far it is
        environment = {**os.environ, 'MMMIM_PROGRESS': 'lines' if mode() == 'off' else mode()}
        with open(self.log, 'a') as log:
            start = log.tell()
            # a session of its own: Ctrl-C reaches this process alone, which hands it on as a request to save
            self.starting, self.process = True, None
            self.process = subprocess.Popen([sys.executable, '-W', 'ignore', *arguments], cwd=ROOT, stdout=log,
                                            env=environment, start_new_session=True)
            if self.stopped_by:  # while it was being started
                self.process.send_signal(signal.SIGTERM)
            code = self.process.wait()
            self.starting = False
        if self.stopped_by:
            say('stopped' + (' and saved' if code == EXIT_ASKED_TO_STOP else '') + '; the same command continues')
            sys.exit(128 + self.stopped_by)
        if code:
            with open(self.log, errors='replace') as log:
                log.seek(start)
                sys.stderr.write(''.join(log.readlines()[-15:]))
            sys.exit(f'[quickstart] {arguments[0]} ended with exit code {code}; everything it printed is in {self.log}')


def evaluation(work_dir: Path, checkpoint: Optional[str]) -> Optional[Dict]:
    """What was measured for a checkpoint before, unless the checkpoint is newer."""
    name = Path(checkpoint).stem if checkpoint else 'random_initialisation'
    path = work_dir / 'evaluations' / f'{name}.json'
    if not path.exists() or (checkpoint and path.stat().st_mtime < os.stat(checkpoint).st_mtime):
        return None
    try:
        return json.loads(path.read_text())
    except ValueError:
        return None


def measure(tools: Tools, config: str, work_dir: Path, checkpoint: Optional[str] = None) -> Dict:
    """The numbers of a checkpoint, or of the random initialisation; measured unless they are there."""
    found = evaluation(work_dir, checkpoint)
    if found is None:
        tools.run('tools/test.py', config, *([checkpoint] if checkpoint else []), '--work-dir', str(work_dir))
        found = evaluation(work_dir, checkpoint)
    say('      ' + ', '.join(f'{label} {form.format(found[key])}' for key, label, form in MEASURES if key in found))
    return found


def show(before: Dict, after: Dict, work_dir: Path, config: str, report: str) -> None:
    """The result in the terminal."""
    rows = [('', 'random initialisation', 'after pre-training')]
    rows += [(label, form.format(before[key]), form.format(after[key]))
             for key, label, form in MEASURES if key in before and key in after]
    print('\n' + '\n'.join(f'  {label:34s}{first:>22s}{second:>22s}' for label, first, second in rows) + '\n')
    record = json.loads((work_dir / 'run.json').read_text())
    seconds = sum(session['seconds'] for session in record['sessions'])
    views = record['max_iters'] * record['batch'] * record['accumulation'] * record['processes']
    here = os.path.relpath(work_dir, ROOT)
    print(f'''  pre-training   {seconds / 60:.1f} minutes, {views / max(seconds, 1e-9):.0f} images a second
  report         {report}   <- open this in a browser
  encoder        {here}/encoder.safetensors (timm's parameter names)
  config         {os.path.relpath(config, ROOT)}: edit it and run it again

  What next:
    your own images      bash tools/quickstart.sh /path/to/images
    longer               .venv/bin/python tools/train.py {os.path.relpath(config, ROOT)} --work-dir work_dirs/longer \\
                             --cfg-options max_epochs={10 * record['max_epochs']}
    the real recipes     configs/mae/README.md''')
    bad = work_dir / 'bad_images.txt'
    if bad.exists():
        print(f'\n  files that could not be read: {len(bad.read_text().splitlines())}, listed in {here}/{bad.name}')


def run(folder: Optional[str], overrides: Dict) -> None:
    started = time.monotonic()
    stage(2, 'data: ' + (folder or 'a small set of drawn scenes, as none was given'))
    work_dir = work_dir_for(folder)
    tools = Tools(work_dir / 'quickstart.log')
    if folder is None:
        tools.run('tools/datasets/make_scenes.py', str(SCENES))
    config = write_config(folder or str(SCENES), str(work_dir), overrides=overrides)
    stage(3, 'measuring the random initialisation, to compare with')
    before = measure(tools, config, work_dir)
    if is_finished(str(work_dir)) and newest_checkpoint(str(work_dir)):
        stage(4, 'pre-training: done before')
    else:
        stage(4, 'pre-training; Ctrl-C saves and stops, the same command continues')
        tools.run('tools/train.py', config, '--work-dir', str(work_dir), '--resume')
    stage(5, 'measuring the pre-trained encoder')
    checkpoint = newest_checkpoint(str(work_dir))
    after = measure(tools, config, work_dir, checkpoint)
    stage(6, 'report page')
    report = write_report([str(work_dir)], str(work_dir / 'report.html'))
    show(before, after, work_dir, config, os.path.relpath(report, ROOT))
    say(f'finished after {(time.monotonic() - started) / 60:.1f} minutes')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--folder', help='images (default: data/scenes)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE')
    args = parser.parse_args()
    os.chdir(ROOT)
    try:
        run(args.folder, args.cfg_options)
    except USER_ERRORS as error:
        if os.environ.get('MMMIM_TRACEBACK'):
            raise
        sys.exit(f'[quickstart] {error}')


if __name__ == '__main__':
    main()
