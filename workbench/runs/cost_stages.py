"""What each stage before training costs: scenes, detector, features, text, triplets."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.files import read_json
from workbench.runs.cost_data import DataSize
from workbench.runs.cost_machines import GB, Machine
from workbench.runs.cost_networks import encoder_cost, text_cost, text_dimension

HALF = 2  # bytes of a float16
TABLE_BYTES = 24  # of a row of a parquet table, compressed
PICTURE_BYTES = 140e3  # of a JPEG file of GQA
ANNOTATION_BYTES = 200  # of JSON, a relation with its boxes
KMEANS_PASSES = 10
CAPTION_TOKENS = 12
CONVOLUTION_SHARE = 0.5  # of the arithmetic that matrix products reach
CAPTION_BYTES = 40
SMALL_TOWER = (128, 1e8)  # dimension, and operations a caption, of the tower that is trained on drawn crops
DRAWING_SECONDS = 0.025  # a picture, one core
CROP_SECONDS = 0.008  # a crop an epoch, in the training of the small tower
PROGRAM_BYTES = 1.5 * GB  # Python with torch, before any data
SPLIT_TABLE_BYTES = 200  # of a relation in memory, with its boxes, while a split is read

ASSUMED = (
    f"a picture is {PICTURE_BYTES / 1e3:.0f} kB; the encoder sees 3 : 4 pictures",
    f"a caption has {CAPTION_TOKENS} tokens; k-means takes as long as {KMEANS_PASSES} passes over the captions",
    f"Python and torch take {PROGRAM_BYTES / GB:g} GB of the host's memory",
    f"convolutions reach {CONVOLUTION_SHARE:g} times what matrix products do",
    "parts of a stage overlap: arithmetic, disk, decoding; the slowest gives its time",
)


@dataclass(frozen=True)
class StageCost:
    """One stage (``times`` alike ones): bytes, operations, and the seconds of what it waits for longest (``limit``)."""

    stage: str
    variant: str = "default"
    times: int = 1
    written: float = 0.0
    read: float = 0.0
    gpu_bytes: float = 0.0
    host_bytes: float = PROGRAM_BYTES
    operations: float = 0.0
    seconds: float = 0.0
    limit: str = ""
    note: str = ""

    def repeated(self, times: int, variant: str | None = None) -> "StageCost":
        """The cost of ``times`` such stages, one after the other; memory stays."""
        sums = {name: times * getattr(self, name) for name in ("written", "read", "operations", "seconds")}
        return replace(self, times=times * self.times, variant=variant or self.variant, **sums)


@dataclass(frozen=True)
class Setting:
    """What all stages share: data, features' dimension, machine, GPUs and the processes that decode."""

    data: DataSize
    dimension: int
    text_dimension: int
    machine: Machine
    gpus: int = 1
    workers: int = 8

    @property
    def on_gpu(self) -> bool:
        """Whether the machine is a GPU with memory of its own."""
        return self.machine.memory > 0

    def cost(
        self, stage: str, *, operations: float = 0.0, written: float = 0.0, read: float = 0.0, steps: float = 0.0,
        waits: Mapping[str, float] | None = None, network: float = 0.0, host: float = 0.0, precision: str = "auto",
        shared: bool = True, on_host: bool = False, convolutions: bool = False, note: str = "",
    ) -> StageCost:  # fmt: skip
        """A stage whose parts overlap, so that the slowest one gives the time.

        ``network`` are bytes where it computes, ``host`` other bytes of the host's memory, ``steps`` optimiser steps,
        ``waits`` further seconds by name. ``shared`` stages are divided by the GPUs, ``on_host`` ones use the CPU.
        """
        machine, gpus = self.machine, self.gpus if shared else 1
        speed = machine.host if on_host else machine.speed(precision) * gpus
        speed *= CONVOLUTION_SHARE if convolutions else 1.0
        seconds = {"arithmetic": operations / speed, "disk": (written + read) / machine.disk}
        seconds |= {"steps": steps * machine.launch} | dict(waits or {})
        limit = max(seconds, key=seconds.__getitem__)
        of_gpu = network if self.on_gpu and not on_host else 0.0
        return StageCost(
            stage, written=written, read=read, operations=operations, gpu_bytes=of_gpu,
            host_bytes=PROGRAM_BYTES + host + network - of_gpu, seconds=seconds[limit], limit=limit, note=note,
        )  # fmt: skip


def dimension_of(width: float) -> int:
    """The length of a region feature of an encoder of that width."""
    from workbench.regions.encoder import EncoderConfig

    return EncoderConfig(width=width).dimension


def prepared_size(short_side: int) -> tuple[int, int]:
    """Height and breadth in pixels of a 3 : 4 picture as the encoder sees it: 800 x 1067 for 800."""
    return short_side, round(short_side * 4 / 3)


def scenes_cost(setting: Setting) -> StageCost:
    """Drawing the pictures, on all workers' cores."""
    pictures = setting.data.total("images")
    drawing = {"drawing": pictures * DRAWING_SECONDS / setting.workers}
    return setting.cost("scenes", written=pictures * 6e3, waits=drawing, shared=False, on_host=True)


def detector_cost(setting: Setting, values: Mapping[str, Any]) -> StageCost:
    """Training the encoder on drawn scenes: three times its forward pass, an epoch a pass over the pictures."""
    encoder = encoder_cost(values["width"], *prepared_size(values["short_side"]))
    pictures = values["detector_epochs"] * setting.data.images["train"]
    boxes = setting.data.boxes["train"] / max(1, setting.data.images["train"])
    return setting.cost(
        "detector", operations=3 * pictures * (encoder.picture + boxes * encoder.region),
        written=encoder.weight_bytes, read=pictures * 6e3, network=5 * encoder.weight_bytes, shared=False,
        convolutions=True,
    )  # fmt: skip


def tower_cost(setting: Setting, values: Mapping[str, Any]) -> StageCost:
    """Training the small text tower on drawn crops."""
    training = {"drawing": values["crops"] * values["tower_epochs"] * CROP_SECONDS}
    return setting.cost("tower", written=1e6, waits=training, shared=False, on_host=True)


def features_cost(setting: Setting, values: Mapping[str, Any]) -> StageCost:
    """Every picture once, every box and union once."""
    from workbench.regions.image_shard import PIXELS_PER_BATCH

    data = setting.data
    size = prepared_size(values["short_side"])
    encoder = encoder_cost(values["width"], *size)
    pictures, regions = data.total("images"), data.total("boxes") + data.total("relations")
    store = regions * (setting.dimension * HALF + TABLE_BYTES)
    decoding = pictures / (setting.workers * setting.machine.pictures_a_core)
    at_once = max(1, int(PIXELS_PER_BATCH / values["width"]) // (size[0] * size[1]))
    activations = at_once * encoder.activations / (HALF if setting.on_gpu else 1)
    return setting.cost(
        "features", operations=pictures * encoder.picture + regions * encoder.region, written=store,
        # Checksums read what was written once more.
        read=store + pictures * PICTURE_BYTES + data.total("relations") * ANNOTATION_BYTES,
        waits={"decoding": decoding}, network=encoder.weight_bytes + activations,
        host=data.relations["train"] * SPLIT_TABLE_BYTES + 2 * GB, precision="auto" if setting.on_gpu else "float32",
        convolutions=True,
        note=f"{pictures:,} pictures, {regions:,} regions of {setting.dimension} numbers",
    )  # fmt: skip


def text_stage_cost(setting: Setting, model: str) -> StageCost:
    """The vectors of the class names, and the tower's weights beside them."""
    names = setting.data.object_classes + setting.data.relation_classes
    weights, operations = _tower(model)
    return setting.cost(
        "text", operations=names * operations, written=weights + names * 4 * setting.text_dimension,
        read=3.5 * weights if model else 0.0, network=weights, shared=False,
    )  # fmt: skip


def triplets_cost(setting: Setting, values: Mapping[str, Any], model: str) -> list[StageCost]:
    """Captions of all distinct triplets, then k-means on the CPU; two lines of one stage."""
    from workbench.language.triplets import LARGEST_FLOAT32_BYTES

    samples = values["medium_quota"] + values["few_quota"]
    captions, width = setting.data.distinct_triplets + samples, setting.text_dimension
    weights, operations = _tower(model)
    single = 4.0 * captions * width
    stored = single if single <= LARGEST_FLOAT32_BYTES else single / 2
    clustering = KMEANS_PASSES * 2.0 * captions * width * values["n_centres"]
    host = setting.data.relations["train"] * SPLIT_TABLE_BYTES
    return [
        setting.cost(
            "triplets", operations=captions * operations, written=stored + captions * CAPTION_BYTES,
            read=weights, network=weights, host=host, shared=False, note=f"{captions:,} captions",
        ),
        replace(
            setting.cost(
                "triplets", operations=clustering, host=host + single + 1 * GB, shared=False, on_host=True
            ),
            variant="k-means",
        ),
    ]  # fmt: skip


def text_dimension_of(model: str, text_folder: Path) -> int:
    """T: that of a text folder that is there, else of the CLIP model, else of the small tower of drawn scenes."""
    from workbench.language.text_embedding import MANIFEST

    if (text_folder / MANIFEST).is_file():
        return int(read_json(text_folder / MANIFEST)["dimension"])
    return text_dimension(model) if model else SMALL_TOWER[0]


def _tower(model: str) -> tuple[float, float]:
    """Bytes of weights and operations a caption."""
    if not model:
        return 0.0, SMALL_TOWER[1]
    cost = text_cost(model, CAPTION_TOKENS)
    return float(cost.weight_bytes), cost.forward
