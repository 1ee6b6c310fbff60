"""The page of a run, or of several: what was run, how it went, what came out, how to go on."""
