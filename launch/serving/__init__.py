"""A trained network on its way to its use: files for other runtimes, predictions, pictures of what it looked at."""
