"""What a profile writes and computes, before anything runs: bytes of files, parameters and operations of networks.

Rows are counted in tables that are there, else taken from the profile's section ``size``. Networks are built as the
notebooks' configs say, on torch's meta device, which has shapes and no numbers; ``torch.utils.flop_counter`` counts
products, convolutions and attention, a multiplication and an addition as two operations.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from drawn_scenes import text_tower
from drawn_scenes.detector_config import DetectorConfig
from workbench.configuration import configured
from workbench.diffusion.conditioned_network import DataSizes
from workbench.diffusion.conditions import ConditionBatch
from workbench.diffusion.config import DiffusionConfig
from workbench.diffusion.denoiser import denoiser_classes
from workbench.errors import WorkbenchError
from workbench.files import read_json
from workbench.language.config import AugmentationConfig, TextConfig
from workbench.language.text_embedding import MANIFEST
from workbench.paths import imported_folder, runs_folder
from workbench.ranges import Count, Ranged, Whole
from workbench.recognition.config import RecogniserConfig
from workbench.recognition.lsvru import Scenes
from workbench.recognition.recogniser import FROM_DATA, head_class
from workbench.regions.config import ExtractionConfig
from workbench.regions.encoders import chosen_encoder
from workbench.regions.vgg import VGGNetwork
from workbench.runs.profiles import SIZE, Plan, profile_section
from workbench.scenes.relations import RelationTables
from workbench.scenes.vocabulary import OBJECTS_FILE, ROLES, SPLITS, Vocabulary

TABLES = ("images", "boxes", "relations")
# Bytes of a number, of a row of a parquet table, of a caption, of a relation's predictions.
HALF, SINGLE, TABLE_ROW, CAPTION, PREDICTION = 2, 4, 24, 40, 190
WORD_DIMENSION = 300  # of a file of word vectors
ROWS = 8


@dataclass(frozen=True)
class DataSize(Ranged):
    """Rows of each table by split, numbers of classes, distinct triplets of train, and where the numbers come from.

    ``dimension`` of features that are there, 0 where none are; ``box_features``: whether boxes have their own.
    """

    images: dict[str, Count]
    boxes: dict[str, Count]
    relations: dict[str, Count]
    object_classes: Count
    relation_classes: Count
    distinct_triplets: Count
    source: str
    dimension: Whole = 0
    box_features: bool = True

    def __post_init__(self) -> None:
        """Refuse what no data set can have."""
        super().__post_init__()
        for table in TABLES:
            splits = getattr(self, table)
            if not {"train"} <= set(splits) <= set(SPLITS):
                raise WorkbenchError(f"{table} is {splits}; expected rows of train, val and test.")


@dataclass(frozen=True)
class NetworkSize:
    """Parameters of a network, and operations of one row (an image, a region, a relation) in use and in training."""

    parameters: int
    forward: float
    training: float


@dataclass(frozen=True)
class ResourcePlan:
    """``files``: bytes by what is written; ``networks``: sizes by what computes."""

    profile: str
    data: DataSize
    files: dict[str, float]
    networks: dict[str, NetworkSize]


def plan_resources(plan: Plan, root: Path | None = None) -> ResourcePlan:
    """The bytes, parameters and operations of the notebooks of ``plan``; the data need not be here."""
    configs: dict[type, Any] = {
        parameter.config_class: configured(parameter.config_class, notebook.values[name])
        for notebook in reversed(plan.notebooks)
        for name, parameter in notebook.declared.items()
        if parameter.config_class
    }
    folders = [imported_folder(root) / plan.data] if plan.data else []
    folders += [runs_folder(root) / plan.run / "features" / "default", imported_folder(root) / plan.profile]
    data = data_size(plan.profile, folders, profile_section(plan.profile, SIZE, root))
    text = _text_dimension(configs.get(TextConfig), folders)
    dimension = data.dimension
    networks: dict[str, NetworkSize] = {}
    if ExtractionConfig in configs:
        dimension, networks = _encoder(configs[ExtractionConfig], configs[DetectorConfig])
    augmentation = configs.get(AugmentationConfig, AugmentationConfig(medium_quota=0, few_quota=0))
    samples = augmentation.medium_quota + augmentation.few_quota
    regions = sum(data.boxes.values()) + sum(data.relations.values())
    captions = data.distinct_triplets + samples
    files = {
        f"features ({regions:,} regions of {dimension})": regions * (HALF * dimension + TABLE_ROW),
        "text (class names)": SINGLE * text * (data.object_classes + data.relation_classes),
        f"triplets ({captions:,} captions)": captions * (SINGLE * text + CAPTION),
    }
    if diffusion := configs.get(DiffusionConfig):
        centroids = augmentation.centroids if diffusion.hardness else 0
        sizes = DataSizes(dimension, text, data.object_classes, data.relation_classes, centroids)
        networks["denoiser, a row"] = _denoiser(diffusion, sizes)
        files["denoiser, with its average"] = 2 * SINGLE * networks["denoiser, a row"].parameters
        rows = samples * (3 if diffusion.entity_features == "generated" else 1)
        files[f"generated features ({rows:,} rows)"] = rows * (HALF * dimension + TABLE_ROW)
    if recogniser := configs.get(RecogniserConfig):
        networks["recogniser, a relation"] = _recogniser(recogniser, data, dimension, text)
        files["one recogniser"] = SINGLE * networks["recogniser, a relation"].parameters
        files["predictions of one recogniser"] = PREDICTION * data.relations.get("test", 0)
    return ResourcePlan(plan.profile, data, files, networks)


def data_size(profile: str, folders: list[Path], stated: Mapping[str, Any]) -> DataSize:
    """Rows and classes: counted in the first of ``folders`` that has tables, else ``stated``."""
    counted = next((folder for folder in folders if (folder / OBJECTS_FILE).is_file()), None)
    if counted is None:
        if stated:
            return configured(DataSize, stated, f"profile {profile!r}, size", source="stated in the profile")
        raise WorkbenchError(
            f"profile {profile!r}: its data are not here and it does not say how large they are. Add them (workbench "
            "data add, workbench features import), or give the profile a section 'size:' with "
            f"{', '.join((*TABLES, 'object_classes', 'relation_classes', 'distinct_triplets'))}."
        )
    tables, vocabulary = RelationTables.open_all(counted), Vocabulary.read(counted)
    features = counted / "train" / "features.json"
    manifest = read_json(features) if features.is_file() else {}
    return DataSize(
        **{table: {split: len(getattr(found, table)) for split, found in tables.items()} for table in TABLES},
        object_classes=len(vocabulary.objects), relation_classes=len(vocabulary.relations),
        distinct_triplets=len(tables["train"].relations[list(ROLES)].drop_duplicates()),
        source=f"counted in {counted}", dimension=manifest.get("dimension", 0),
        box_features=manifest.get("entity_region", "box") == "box",
    )  # fmt: skip


def _text_dimension(clip: TextConfig | None, folders: list[Path]) -> int:
    found = next((path for folder in folders if (path := folder / "text" / MANIFEST).is_file()), None)
    if found:
        return int(read_json(found)["dimension"])
    if clip is None or not clip.model:
        return int(read_json(text_tower.MODEL)["embed_dim"])
    from workbench.language.caption_encoder import published_tower

    return published_tower(clip)[0]["embed_dim"]


def _encoder(extraction: ExtractionConfig, detector: DetectorConfig) -> tuple[int, dict[str, NetworkSize]]:
    """The length of a feature, and VGG-16's sizes on a 3 : 4 image and on one of its regions."""
    if extraction.encoder != "vgg16":
        return chosen_encoder(extraction).dimension, {}
    short_side = extraction.short_side or detector.short_side
    with torch.device("meta"):
        encoder = VGGNetwork(detector.width)
        image = torch.empty(1, 3, short_side, round(short_side * 4 / 3))
        region = torch.empty(1, next(encoder.heads.parameters()).shape[1])
    return encoder.dimension, {
        "region encoder, an image": network_size(encoder.convs, lambda: encoder.convs(image), 1),
        "region encoder, a region": network_size(encoder.heads, lambda: encoder.heads(region), 1),
    }


def _denoiser(config: DiffusionConfig, sizes: DataSizes) -> NetworkSize:
    with torch.device("meta"):
        network = denoiser_classes(config.denoiser)[1](config.network, sizes)
        numbers = torch.zeros(ROWS, 5, dtype=torch.long)
        classes = (numbers[:, 0], numbers[:, 1], numbers[:, 2])
        conditions = ConditionBatch(classes, torch.empty(ROWS, sizes.text), numbers, numbers[:, 0])
        noisy, level = torch.empty(ROWS, sizes.features), torch.empty(ROWS)
    return network_size(network, lambda: network(noisy, network.modulation(level), network.encode(conditions)), ROWS)


def _recogniser(config: RecogniserConfig, data: DataSize, dimension: int, text_dimension: int) -> NetworkSize:
    """Of a relation in a batch, whose relations share the embedding of the class names."""
    words = WORD_DIMENSION if config.word_vectors else text_dimension
    of_data = (dimension, words, data.object_classes, data.relation_classes, not data.box_features)
    kind = head_class(config.architecture)
    sizes = {**dict(zip(FROM_DATA, of_data, strict=True)), "hidden": config.hidden, **config.sizes}
    with torch.device("meta"):
        head = kind.empty(kind.config_class(**sizes))
    # Heads cast by device and lay scenes out by their lengths, for which the meta device will not do.
    head, rows = head.to_empty(device="cpu"), config.batch_size
    features = [torch.zeros(rows, dimension) for _ in ROLES]
    scene = torch.arange(rows) // ROWS
    scenes = Scenes(torch.cat(features, dim=1), scene.bincount(), scene) if head.reads_scenes else None
    return network_size(head, lambda: sum(part.square().mean() for part in head(*features, scenes)), rows)


def network_size(network: nn.Module, forward: Callable[[], Tensor], rows: int) -> NetworkSize:
    """Parameters, and the operations of ``forward`` on ``rows`` rows by the row: alone, and with its backward pass."""
    from torch.utils.flop_counter import FlopCounterMode  # brings triton

    with FlopCounterMode(display=False) as counter:
        loss = forward().square().mean()
        alone = counter.get_total_flops()
        loss.backward()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return NetworkSize(parameters, alone / rows, counter.get_total_flops() / rows)


def plan_text(plan: ResourcePlan) -> str:
    """The plan as tables for people."""
    data = plan.data
    rows = ", ".join(f"{' / '.join(f'{n:,}' for n in getattr(data, table).values())} {table}" for table in TABLES)
    lines = [
        f"profile {plan.profile}",
        f"data: {rows}, {data.object_classes:,} object and {data.relation_classes:,} relation classes, "
        f"{data.distinct_triplets:,} distinct triplets ({data.source})",
        "",
        f"{'written':<52} {'bytes':>10}",
        *(f"{name:<52} {_short(size)}B" for name, size in plan.files.items()),
        f"{'all of these':<52} {_short(sum(plan.files.values()))}B",
        "",
        f"{'network':<28} {'parameters':>12} {'weights':>10} {'operations':>11} {'in training':>12}",
    ]
    for name, size in plan.networks.items():
        operations = f"{_short(size.forward)} {_short(size.training)}"
        lines.append(f"{name:<28} {size.parameters:>12,} {_short(SINGLE * size.parameters)}B {operations}")
    return "\n".join([*lines, "", "AdamW keeps four times the weights while it trains, the denoiser five times."])


def _short(number: float) -> str:
    power = next((power for power in range(5) if number < 999.5 * 1000**power), 5)
    return f"{number / 1000**power:8.3g} {' kMGTP'[power]}"
