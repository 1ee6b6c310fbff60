"""`mmmim train`, from a checkout: python tools/train.py ARGUMENTS."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmmim.cli import main  # noqa: E402

if __name__ == '__main__':
    main(['train', *sys.argv[1:]])
