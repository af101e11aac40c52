"""Measurements of speed: python -m launch.bench MEMBER."""
