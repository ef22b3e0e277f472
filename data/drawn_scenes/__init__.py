"""Images of scenes with annotated relations, drawn in the LTVRR layout; ``drawn_scenes.prepare`` is the door."""
