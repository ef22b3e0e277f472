"""Annotated images in the LTVRR layout: read, checked, and made into the features that the method works on."""
