"""Annotated images in the LTVRR layout, and what comes with them: read, checked, made into features."""
