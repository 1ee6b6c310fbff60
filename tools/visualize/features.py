"""`mmmim features`, from a checkout: python tools/visualize/features.py ARGUMENTS."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmmim.cli import main  # noqa: E402

if __name__ == '__main__':
    main(['features', *sys.argv[1:]])
