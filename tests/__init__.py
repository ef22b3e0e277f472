"""A package, so that no other installed package of this name is taken for it."""
