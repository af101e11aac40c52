"""Encoded bytes to the pixels of one sample."""
