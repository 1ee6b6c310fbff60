"""Parts of the doctor. Standard library only; what needs more is imported in processes of its own (probes.py)."""
