"""Training the denoiser: on arrays, and the stage that trains on a feature store."""

import contextlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from workbench.diffusion.checkpoint import DenoiserCheckpoint, DenoiserIdentity
from workbench.diffusion.conditions import ConditionTable
from workbench.diffusion.diffusion_config import DiffusionConfig
from workbench.diffusion.resumption import require_same_work
from workbench.diffusion.training_batches import rarity_weights
from workbench.diffusion.training_loop import CHECKPOINT, TrainingLoop
from workbench.diffusion.training_rows import RegionRows, region_rows
from workbench.diffusion.training_state import STATE, read_log
from workbench.diffusion.training_step import DenoiserTraining
from workbench.errors import WorkbenchError
from workbench.language.triplets import read_triplets
from workbench.processes import Processes
from workbench.tracking import require_tracker

__all__ = ["CHECKPOINT", "DiffusionConfig", "read_log", "train_denoiser", "train_diffusion"]

FINGERPRINT = "training.json"
ENTITY_FEATURES = ("seed", "generated")


def train_denoiser(
    folder: Path,
    features,
    condition_index: np.ndarray,
    conditions: ConditionTable,
    *,
    config: DiffusionConfig,
    seed: int,
    held_out: tuple[np.ndarray, np.ndarray] | None = None,
    row_weights: np.ndarray | None = None,
    identity: DenoiserIdentity | None = None,
    callback: Callable[[dict], None] | None = None,
    log_every: int = 50,
    held_out_every: int = 250,
    checkpoint_seconds: float = 60.0,
    order: str = "auto",
    tracker: str = "",
    device: str = "auto",
) -> dict:
    """Train on ``features`` (N, D) and leave ``denoiser.safetensors`` and ``log.jsonl`` in ``folder``.

    ``features`` is an array or anything that gives float rows for row numbers; ``condition_index`` (N,) points into
    ``conditions``; ``row_weights`` (N,) are drawing rates; ``held_out`` is (features, condition_index). ``callback``
    gets each logged line; ``tracker`` ("tensorboard" or "mlflow") draws it as curves in ``folder / "tracking"``.
    ``order`` "rows" draws every row alone, "blocks" reads neighbouring rows together, "auto" does that with features
    that are not in memory. The processes of a launcher share each batch and all return the same metrics.

    An unfinished training in the folder is gone on with, to the same weights. The state is written every
    ``checkpoint_seconds`` at a logged step: a minute of a CPU's work, but a few minutes (300 or 600) suit a GPU, where
    writing a large network's state takes as long as hundreds of steps. SIGTERM saves it after the step at hand and
    raises ``workbench.stopping.Stopped``. Raises WorkbenchError for features or a loss that are not finite: the last
    good state stays in the folder.
    """
    folder, processes = Path(folder), Processes.current()
    require_tracker(tracker)
    training = DenoiserTraining(
        features, condition_index, conditions,
        config=config, seed=seed, row_weights=row_weights, identity=identity, order=order, device=device,
        processes=processes,
    )  # fmt: skip
    with contextlib.closing(training):
        folder.mkdir(parents=True, exist_ok=True)
        require_same_work(folder / FINGERPRINT, training.fingerprint(), processes)
        if processes.main:
            training.watch("train", features, training.condition_index)
            if held_out is not None:
                training.watch("held_out", *held_out)
        if not (folder / CHECKPOINT).exists() or (folder / STATE).exists():
            TrainingLoop(folder, training, callback, log_every, held_out_every, checkpoint_seconds, tracker).run()
        return _metrics(folder, training)


def train_diffusion(
    folder: Path,
    *,
    features: Path,
    text: Path,
    triplets: Path,
    hardness: bool = True,
    entity_features: str = "seed",
    seed: int = 0,
    epochs: float = 60.0,
    steps: int = 0,
    batch_size: int = 512,
    sampling_power: float = 0.5,
    width: int = 512,
    blocks: int = 4,
    heads: int = 8,
    token_width: int = 256,
    denoiser: str = "mlp",
    target: str = "auto",
    unet_channels: Sequence[int] = (32, 64, 64),
    unet_layers: int = 2,
    layout: str = "tokens",
    dropout: float = 0.1,
    skip: bool = False,
    learning_rate: float = 1e-3,
    ema_decay: float = 0.999,
    schedule: str = "squaredcos_cap_v2",
    class_balancing: float = 0.0,
    precision: str = "auto",
    accumulation: int = 1,
    order: str = "auto",
    tracker: str = "",
    checkpoint_seconds: float = 60.0,
    callback: Callable[[dict], None] | None = None,
) -> dict:
    """Stage ``diffusion``: train on the union features of the train split, watch the loss on those of val.

    ``features`` is a features folder, ``text`` a text folder, ``triplets`` the folder of the stage before.
    ``entity_features`` "generated" trains on box features too. ``steps`` 0 means ``epochs`` passes over the rows; rows
    are drawn by the rarity of their rarest class to the power ``-sampling_power``. ``denoiser``, ``target``,
    ``unet_channels``, ``unet_layers`` and ``class_balancing`` are as in ``DiffusionConfig``; ``width`` and ``blocks``
    belong to the "mlp" denoiser, ``heads`` and ``token_width`` to both. ``batch_size`` and ``learning_rate`` are those
    of all processes and all ``accumulation`` micro-batches together. ``order``, ``tracker`` and ``checkpoint_seconds``
    are as in ``train_denoiser``. Returns metrics.
    """
    from workbench.language.text_embedding import TextEmbeddings
    from workbench.regions.feature_store import FeatureStore
    from workbench.scenes.vocabulary import Vocabulary

    if entity_features not in ENTITY_FEATURES:
        raise WorkbenchError(f"entity_features {entity_features!r} is not known; expected one of {ENTITY_FEATURES}.")
    store = FeatureStore.open(Path(features) / "train")
    val = FeatureStore.open(Path(features) / "val", expect_encoder=store.encoder, expect_dimension=store.dimension)
    vocabulary, embeddings, augmented = Vocabulary.read(features), TextEmbeddings.open(text), read_triplets(triplets)
    model = augmented.hardness if hardness else None
    entities = entity_features == "generated"
    train = region_rows(store, embeddings, model, augmented, entities=entities)
    seen = region_rows(val, embeddings, model, augmented, entities=entities)
    config = DiffusionConfig(
        denoiser=denoiser, target=target, unet_channels=tuple(unet_channels), unet_layers=unet_layers,
        width=width, blocks=blocks, heads=heads, token_width=token_width, layout=layout, dropout=dropout, skip=skip,
        schedule=schedule, steps=steps or math.ceil(epochs * len(train) / batch_size), batch_size=batch_size,
        learning_rate=learning_rate, ema_decay=ema_decay, class_balancing=class_balancing, precision=precision,
        accumulation=accumulation,
    )  # fmt: skip
    return train_denoiser(
        folder,
        train.features,
        train.condition_index,
        train.conditions.joined(seen.conditions),
        config=config,
        seed=seed,
        held_out=(seen.features, len(train.conditions) + seen.condition_index) if len(seen) else None,
        row_weights=_drawing_rates(store, train, sampling_power),
        identity=_identity(vocabulary, store, embeddings, model, entities),
        callback=callback,
        checkpoint_seconds=checkpoint_seconds,
        order=order,
        tracker=tracker,
    )


def _drawing_rates(store, train: RegionRows, power: float) -> np.ndarray:
    unions = rarity_weights(store.relations, power)
    if len(train) == len(unions):
        return unions
    counts = np.bincount(train.entity_class)[train.entity_class]
    entities = counts.astype(np.float64) ** -power
    return np.concatenate([unions, entities / entities.mean()])


def _identity(vocabulary, store, text, hardness_model, entities: bool) -> DenoiserIdentity:
    return DenoiserIdentity(
        objects=vocabulary.objects,
        relations=vocabulary.relations,
        encoder=store.encoder,
        support=store.support,
        text_encoder=text.encoder,
        regions=("union", "box") if entities else ("union",),
        object_text=text.objects,
        relation_text=text.relations,
        hardness_centres=None if hardness_model is None else hardness_model.centroids,
    )


def _metrics(folder: Path, training: DenoiserTraining) -> dict:
    last = read_log(folder)[-1]
    checkpoint = DenoiserCheckpoint.load(folder / CHECKPOINT, "cpu")
    seen = {name: value for name, value in last.items() if name.endswith("loss")}
    return seen | {
        "steps": last["step"],
        "seconds": last["seconds"],
        "rows": len(training.features),
        "epochs": last["step"] * training.config.batch_size / len(training.features),
        "rows_per_second": last["step"] * training.config.batch_size / max(last["seconds"], 1e-9),
        "denoiser": checkpoint.config.kind,
        "target": checkpoint.config.target,
        "parameters": checkpoint.model.parameter_count(),
        "precision": training.precision,
        "device": training.device.type,
        "processes": training.processes.count,
    }
