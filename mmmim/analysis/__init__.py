"""Measuring training steps: operations, time, memory. The tools under ``tools/analysis`` are built on it."""
