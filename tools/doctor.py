"""What is installed here, what works with it, and the command that mends what does not.

    python tools/doctor.py [--only NAME ...] [--json]

Each part is tried in a process of its own: libraries are imported, a tiny MAE is trained for two steps, tiny models of
the toolboxes are run, two processes add numbers. Takes about a minute and downloads nothing. Ends with 0 when
pre-training works (with --only: when all that was asked for works), else with 1. It needs nothing but Python, and
looks at the interpreter that it is run with.
"""

from __future__ import print_function

import os
import sys

# This file is kept readable for every Python since 2.7, so that an old one is told what is needed.
HERE = os.path.dirname(os.path.abspath(__file__))
OLDEST = (3, 10)


def tell_old_python(as_json):
    have = '%d.%d.%d' % sys.version_info[:3]
    need = '%s is Python %s; mmmim needs 3.10, 3.11 or 3.12' % (sys.executable, have)
    setup = os.path.join(HERE, 'setup_env.sh')
    cure = (
        'PYTHON=/path/to/python3.11 bash %s' % setup
        if os.path.exists(setup)
        else 'python3.11 -m venv mmmim_env    # then install mmmim there'
    )
    if as_json:
        import json

        print(
            json.dumps(
                {
                    'pretraining_works': False,
                    'rows': [
                        {
                            'group': 'machine',
                            'name': 'Python',
                            'status': 'broken',
                            'installed': have,
                            'detail': need,
                            'mend': [cure],
                        }
                    ],
                }
            )
        )
    else:
        print('%s\nWhat to do:\n  %s' % (need, cure))


def main():
    if sys.version_info[:2] < OLDEST:
        tell_old_python('--json' in sys.argv)
        return 1
    if HERE not in sys.path:  # with PYTHONSAFEPATH
        sys.path.insert(0, HERE)
    from doctor_parts.examination import examine

    return examine(sys.argv[1:], __doc__)


if __name__ == '__main__':
    sys.exit(main())
