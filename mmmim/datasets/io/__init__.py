"""From files to pixels: which files there are, how they are opened and decoded."""
