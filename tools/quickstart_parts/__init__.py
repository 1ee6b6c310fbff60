"""Parts of the quickstart: the processes that it starts, the dense tasks, what it prints."""
