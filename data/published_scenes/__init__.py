"""GQA-LT, VG8K-LT and VRD as they are published, brought into the LTVRR layout; ``prepare`` is the door."""
