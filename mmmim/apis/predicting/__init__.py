"""Parts of `mmmim.predict` and of what `mmmim.load` gives of a trained model."""
