"""What is installed here, what works with it, and the commands that fix the rest.

    mmmim doctor [--only NAME ...] [--json]

Each part is tried in a separate process: libraries are imported, a tiny MAE is trained for two steps, tiny models of
the toolboxes are run, two processes add numbers. Takes about a minute and downloads nothing. Ends with 0 when
pre-training works (with --only: when all that was asked for works), else with 1. It needs nothing but Python, and
examines the interpreter that runs it.

Standard library only; other libraries are imported in separate processes (probes.py).
"""
