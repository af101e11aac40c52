"""The cells that are compiled into the graph of a training step."""
