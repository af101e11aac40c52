"""Flags, files, recipes, the zoo's spellings."""
