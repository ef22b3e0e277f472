"""The drawn scenes: pictures with annotated relations, drawn by this package in the LTVRR layout."""

from workbench.scenes.drawn.catalogue import FAMILIES, OBJECT_NAMES
from workbench.scenes.drawn.contact_sheet import contact_sheet
from workbench.scenes.drawn.free_crops import draw_free_crops
from workbench.scenes.drawn.rules import RELATION_NAMES
from workbench.scenes.drawn.writer import draw_scenes

__all__ = ["FAMILIES", "OBJECT_NAMES", "RELATION_NAMES", "contact_sheet", "draw_free_crops", "draw_scenes"]
