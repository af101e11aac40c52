"""The command lines, and what puts a run together."""
