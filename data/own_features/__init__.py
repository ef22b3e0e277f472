"""Features computed elsewhere, brought into the workbench's layout with everything checked; ``prepare`` is the door."""
