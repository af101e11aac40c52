"""Stands in for MindCV where that is not installed: its way in, and small networks of the forms that it has."""
