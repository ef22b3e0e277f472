"""Simulated data: annotations, features and text vectors of a real data set's size and imbalance, without images."""

from tests.scale.annotations import simulate_annotations
from tests.scale.sizes import SIZES, SimulatedSize

__all__ = ["SIZES", "SimulatedSize", "simulate_annotations"]
