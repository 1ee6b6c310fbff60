"""What is installed here, what works with it, and the command that mends what does not.

    mmmim doctor [--only NAME ...] [--json]

Each part is tried in a process of its own: libraries are imported, a tiny MAE is trained for two steps, tiny models of
the toolboxes are run, two processes add numbers. Takes about a minute and downloads nothing. Ends with 0 when
pre-training works (with --only: when all that was asked for works), else with 1. It needs nothing but Python, and
looks at the interpreter that it is run with.

Standard library only; what needs more is imported in processes of its own (probes.py).
"""
