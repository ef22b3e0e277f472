"""Simulated annotations: a data set of real size and imbalance in the LTVRR layout, without pictures."""

from workbench.scenes.simulated.sizes import SIZES, SimulatedSize
from workbench.scenes.simulated.writer import simulate_annotations

__all__ = ["SIZES", "SimulatedSize", "simulate_annotations"]
