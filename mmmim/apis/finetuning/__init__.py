"""From labelled images to a model in use: `mmmim.finetune`."""
