"""Small scenes that look like photographs, drawn by formulas: the parts of ``make_scenes.py``."""
