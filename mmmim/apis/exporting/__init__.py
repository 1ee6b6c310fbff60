"""Parts of :func:`mmmim.export`: what is exported, how images become its input, files and their check."""
