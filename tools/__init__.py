"""Scripts; setup.py installs this folder as ``mmmim_tools``, so that the command ``mmmim`` finds them."""
