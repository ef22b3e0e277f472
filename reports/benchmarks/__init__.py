"""Measurements of speed, one a module, run by ``workbench bench``."""
