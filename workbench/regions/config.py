"""What can be set when region features are extracted."""

from dataclasses import dataclass, field
from typing import Any, Literal

from workbench.errors import WorkbenchError
from workbench.looks import Device
from workbench.ranges import Count, Ranged, Whole
from workbench.regions.encoders import ENCODERS
from workbench.scenes.vocabulary import SPLITS, Split


@dataclass(frozen=True)
class ExtractionConfig(Ranged):
    """What encodes the regions, and how.

    ``encoder`` is a name of ``ENCODERS``, an encoder itself, or "module:name" of one. ``short_side`` and
    ``longest_side`` replace those of the detector's checkpoint. ``batch_images`` images are decoded and encoded
    together. ``precision`` "auto" computes in float32 on a CPU and in bfloat16 on a GPU. ``device`` and ``threads``
    (that decode images, 0 chooses) change no result.
    """

    encoder: Any = "vgg16"
    splits: tuple[Split, ...] = ("train", "val", "test")
    short_side: Count | None = None
    longest_side: Count | None = None
    batch_images: Count = 32
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: Device = field(default="auto", metadata={"influence": False})
    threads: Whole = field(default=0, metadata={"influence": False})

    def __post_init__(self) -> None:
        if not callable(ENCODERS.resolve(self.encoder)):
            what = f"encoder is {self.encoder!r}; expected {' or '.join(ENCODERS)}, or 'module:name'"
            raise WorkbenchError(f"{what}. See docs/own-encoder.md.")
        if not self.splits:
            raise WorkbenchError(f"splits is empty; give some of {', '.join(SPLITS)}.")
        super().__post_init__()
