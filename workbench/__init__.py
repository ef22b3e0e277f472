"""A research workbench for long-tailed visual relationship recognition with DiffAugment."""

__version__ = "0.1.0"
