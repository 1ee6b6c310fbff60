"""What is installed here, what works with it, and the commands that fix the rest.

    python tools/doctor.py [--only NAME ...] [--json]

Each part is tried in a process of its own: libraries are imported, a tiny MAE is trained for two steps, tiny models of
the toolboxes are run, two processes add numbers. Takes about a minute and downloads nothing. Ends with 0 when
pre-training works (with --only: when all that was asked for works), else with 1. It needs nothing but Python, and
looks at the interpreter that it is run with.
"""

from __future__ import print_function

import json
import os
import sys

# This file is kept readable for every Python since 2.7, so that an old one is told what is needed.
HERE = os.path.dirname(os.path.abspath(__file__))


def tell_old_python(as_json):
    need = '%s is Python %d.%d.%d; mmmim needs 3.10, 3.11, 3.12 or 3.13' % ((sys.executable,) + sys.version_info[:3])
    setup = os.path.join(HERE, 'setup_env.sh')
    cure = 'PYTHON=/path/to/python3.11 bash %s' % setup if os.path.exists(setup) else 'python3.11 -m venv mmmim_env'
    row = dict(group='machine', name='Python', status='broken', detail=need, mend=[cure])
    print(json.dumps(dict(pretraining_works=False, rows=[row])) if as_json else '%s\nWhat to do:\n  %s' % (need, cure))


def main():
    if sys.version_info[:2] < (3, 10):
        tell_old_python('--json' in sys.argv)
        return 1
    sys.path.insert(0, os.path.dirname(HERE))
    from mmmim.doctor.examination import examine

    return examine(sys.argv[1:])


if __name__ == '__main__':
    sys.exit(main())
