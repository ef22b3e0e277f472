"""Annotations, features and text vectors of a real data set's size and imbalance; ``prepare`` is the door."""
