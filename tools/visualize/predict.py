"""`mmmim predict`, from a checkout: python tools/visualize/predict.py ARGUMENTS."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmmim.cli import main  # noqa: E402

if __name__ == '__main__':
    main(['predict', *sys.argv[1:]])
