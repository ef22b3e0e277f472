"""The door of the drawn scenes: a data set as a stage, free crops for a text tower, sheets of all classes.

    scenes = run.stage("scenes", draw_scenes, config=DrawnScenesConfig(train_images=80))
    images, triplets = draw_free_crops(300, seed=0)
    contact_sheet()

From a shell: ``workbench data draw FOLDER``.
"""

from drawn_scenes.catalogue import FAMILIES, OBJECT_NAMES
from drawn_scenes.config import DrawnScenesConfig
from drawn_scenes.contact_sheet import contact_sheet, relation_sheet
from drawn_scenes.free_crops import draw_free_crops
from drawn_scenes.rules import RELATION_NAMES
from drawn_scenes.writer import draw_scenes

__all__ = [
    "FAMILIES",
    "OBJECT_NAMES",
    "RELATION_NAMES",
    "DrawnScenesConfig",
    "contact_sheet",
    "draw_free_crops",
    "draw_scenes",
    "relation_sheet",
]
