"""What a drawn data set is made with."""

from dataclasses import dataclass

from drawn_scenes.catalogue import OBJECT_NAMES
from drawn_scenes.long_tail import FEWEST_CLASSES
from workbench.errors import WorkbenchError
from workbench.ranges import Count, Ranged, Seed, Whole


@dataclass(frozen=True)
class DrawnScenesConfig(Ranged):
    """Sizes and seed of a drawn data set, on which every byte of it depends.

    ``val_per_class`` and ``test_per_class``: the least examples of every class in each role; relaxed evenly where
    the images cannot hold them (the stage's summary says what was reached). ``size``: pixels of an image's side.
    ``classes``: how many of the most frequent classes, 0 for all that the training images can hold.
    """

    train_images: Count = 3000
    val_images: Count = 400
    test_images: Count = 1300
    val_per_class: Whole = 5
    test_per_class: Whole = 20
    size: int = 160
    classes: Whole = 0
    seed: Seed = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        super().__post_init__()
        if self.size < 64:
            raise WorkbenchError(f"draw_scenes: size is {self.size}; below 64 pixels nothing can be recognised.")
        total = len(OBJECT_NAMES)
        if self.classes and not FEWEST_CLASSES <= self.classes <= total:
            raise WorkbenchError(
                f"draw_scenes: classes is {self.classes}; give 0 for all or a number from {FEWEST_CLASSES} to {total}."
            )

    @property
    def images(self) -> dict[str, int]:
        """Number of images by split."""
        return {"train": self.train_images, "val": self.val_images, "test": self.test_images}
