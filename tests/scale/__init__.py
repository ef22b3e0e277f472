"""Simulated data: annotations, features and text vectors of a real data set's size and imbalance, without images."""
