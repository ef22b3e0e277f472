"""Training the denoiser: on rows given in memory or on disk, and the stage that trains on a features folder."""

import math
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from workbench.diffusion.checkpoint import CHECKPOINT, DenoiserCheckpoint, DenoiserIdentity
from workbench.diffusion.conditioned_network import ConditionedNetwork, DataSizes
from workbench.diffusion.conditions import SLOTS, ConditionTokens, box_conditions, triplet_conditions
from workbench.diffusion.config import ConditionDropout, DiffusionConfig
from workbench.diffusion.denoiser import denoiser_classes, denoiser_name
from workbench.diffusion.exemplars import moments
from workbench.diffusion.objective import BalancedConditions, DenoisingObjective, EvalRows, TrainingBatch
from workbench.diffusion.schedule import NoiseSchedule
from workbench.errors import WorkbenchError
from workbench.language.text_embedding import TextEmbeddings
from workbench.language.triplets import AugmentedTriplets, read_triplets
from workbench.launching import Processes
from workbench.randomness import derived_seed, generator, some_rows
from workbench.regions.feature_rows import FeatureRows, StepFeatures
from workbench.regions.features import FeaturesFolder, FeatureStore
from workbench.scenes.relations import distinct_keys
from workbench.scenes.vocabulary import ROLES
from workbench.training import Evaluation, read_log, train
from workbench.training_config import TrainingEdge
from workbench.training_state import forget_state

ROWS_PER_LEVEL = 4
# With so many rows the mean of a dimension is known to 0.0014 standard deviations.
ROWS_TO_STANDARDISE = 500_000
CONDITIONS_FOR_STATISTICS = 20_000
# Below this share of the typical spread a dimension counts as constant (a dead unit of a rectified encoder).
CONSTANT_SHARE = 1e-4
STEPS_BETWEEN_LINES, STEPS_BETWEEN_EVALUATIONS = 50, 250

Batches = Callable[[int, int, int], TrainingBatch]


@dataclass(frozen=True)
class TrainingRows:
    """Features by row, their conditions by ``index`` (N,), and how often each is drawn by ``weights`` (N,)."""

    features: FeatureRows
    index: np.ndarray
    conditions: ConditionTokens
    weights: np.ndarray


def train_diffusion(
    folder: Path,
    *,
    features: Path,
    text: Path,
    triplets: Path,
    config: DiffusionConfig | None = None,
    edge: TrainingEdge | None = None,
) -> dict:
    """Stage ``diffusion``: train on the union features of the train split, watch the loss on those of val.

    ``features`` is a features folder, ``text`` a text folder, ``triplets`` the folder of the stage before. Leaves
    ``denoiser.safetensors`` and ``log.jsonl``; returns metrics.
    """
    config = config or DiffusionConfig()
    opened, embeddings, augmented = FeaturesFolder(features), TextEmbeddings.open(text), read_triplets(triplets)
    boxes = config.entity_features == "generated"
    rows = region_rows(opened.train, embeddings, augmented, boxes, config.sampling_power)
    held_out = region_rows(opened.val, embeddings, augmented, boxes)
    identity = DenoiserIdentity(
        objects=opened.vocabulary.objects, relations=opened.vocabulary.relations,
        encoder=opened.train.encoder, support=opened.train.support, text_encoder=embeddings.encoder,
        regions=("union", "box") if boxes else ("union",),
    )  # fmt: skip
    centroids = augmented.hardness.centroids
    return train_denoiser(folder, rows, embeddings, centroids, identity, config=config, held_out=held_out, edge=edge)


def train_denoiser(
    folder: Path,
    rows: TrainingRows,
    text: TextEmbeddings,
    centroids: np.ndarray,
    identity: DenoiserIdentity,
    *,
    config: DiffusionConfig,
    held_out: TrainingRows | None = None,
    edge: TrainingEdge | None = None,
) -> dict:
    """Train on ``rows`` and leave ``denoiser.safetensors`` and ``log.jsonl`` in ``folder``; returns metrics.

    The log has ``held_out_loss`` and ``train_loss``, which are the averaged network's on fixed rows with fixed noise,
    without rare rows drawn more often, so these two compare; ``loss`` is the running network's on the drawn batches.
    """
    folder, steps = Path(folder), config.steps_for(len(rows.index))
    warm_up = max(1, round(config.warm_up * steps))
    training = replace(config.training, steps=steps, warm_up_steps=warm_up, seed=config.seed)
    if not (folder / CHECKPOINT).exists():
        name = denoiser_name(config.denoiser)  # refused before the training, not after it
        schedule, network = NoiseSchedule(config.schedule), _initial_network(rows, text, centroids, config)
        objective = DenoisingObjective(network, schedule, config.class_balancing)
        sets = {"train": rows, "held_out": held_out}
        shown = {name: EvalRows(of, name, config.seed) for name, of in sets.items() if of is not None and len(of.index)}

        def evaluate(average: Any) -> dict[str, float]:
            return {f"{name}_loss": some.loss(objective, average, training.precision) for name, some in shown.items()}

        evaluation = Evaluation(STEPS_BETWEEN_EVALUATIONS, evaluate)
        edge = replace(edge or TrainingEdge(), name="the denoiser")
        with denoising_batches(rows, config, schedule.timesteps) as batches:
            # Leaves the averaged weights in the network.
            train(objective, batches, folder, training, log_every=STEPS_BETWEEN_LINES, evaluation=evaluation, edge=edge)
        result = DenoiserCheckpoint(network, name, schedule, config.condition_dropout, identity)
        if (processes := Processes.current()).main:
            result.save(folder / CHECKPOINT)
            forget_state(folder)
        processes.wait()
    return _metrics(folder, len(rows.index), config)


def region_rows(
    store: FeatureStore, text: TextEmbeddings, captions: AugmentedTriplets, boxes: bool = False, power: float = 0.0
) -> TrainingRows:
    """The unions of a store as training targets, and with ``boxes`` every box under each of its classes after them.

    Rows are drawn by the number of rows of their class (of a union, its rarest role's, subject and object counted by
    role) to the power ``-power``: 0.5 is square-root sampling; 0 draws all rows alike.
    """
    conditions, index = triplet_conditions(text, store.relations, captions)
    counts = [np.bincount(classes)[classes] for classes in store.relations[list(ROLES)].to_numpy().T]
    box_rows, weights = np.empty(0, dtype=np.int64), _by_rarity(np.min(counts, axis=0), power)
    if boxes:
        box_rows, classes = _boxes_by_class(store.relations)
        of_boxes, box_index = box_conditions(text, classes)
        index = np.concatenate([index, len(conditions) + box_index])
        conditions = conditions.joined(of_boxes)
        weights = np.concatenate([weights, _by_rarity(np.bincount(classes)[classes], power)])
    return TrainingRows(FeatureRows.of_unions_and_boxes(store, box_rows), index, conditions, weights)


@contextmanager
def denoising_batches(rows: TrainingRows, config: DiffusionConfig, timesteps: int) -> Iterator[Batches]:
    """``batch(step, part, parts)``, one of ``parts`` shares of a step's batch: all rows of some whole noise levels.

    A batch is a function of (seed, step) alone.
    """
    size, seed, conditions = config.batch_size, config.seed, rows.conditions
    levels = size // math.gcd(size, ROWS_PER_LEVEL)
    balanced = BalancedConditions(conditions, rows.index) if config.class_balancing else None
    order = rows.features.order(seed, size, rows.weights, purpose="denoiser rows")

    def batch(step: int, part: int, parts: int) -> TrainingBatch:
        if levels % parts:
            raise WorkbenchError(
                f"a batch of {size} rows has {levels} noise levels, which {parts} processes and micro-batches "
                f"cannot share equally. Choose a batch_size that is a multiple of {ROWS_PER_LEVEL * parts}."
            )
        own, own_levels = (slice(part * of // parts, (part + 1) * of // parts) for of in (size, levels))
        drawn = order.rows_of_step(step)[own]
        index = rows.index[drawn]
        dropped = dropped_slots(config.condition_dropout, generator(seed, "condition dropout", step), size)[own]
        others = None
        if balanced is not None:
            uniform = generator(seed, "balanced conditions", step).random((2, size))[:, own]
            others = conditions.batch(balanced.draw(uniform, index), dropped)
        # Stratified, so that no batch lacks a noise level; shared by some rows, so that modulation costs a quarter.
        places = np.arange(levels) + generator(seed, "timesteps", step).random(levels)
        timestep = np.floor(places / levels * timesteps).astype(np.int64)[own_levels]
        features = torch.from_numpy(read.at(step)(drawn)[0])
        return TrainingBatch(features, conditions.batch(index, dropped), torch.from_numpy(timestep), others)

    with closing(StepFeatures(rows.features, order.rows_of_step, size)) as read:
        yield batch


def dropped_slots(dropout: ConditionDropout, draw: np.random.Generator, rows: int) -> np.ndarray:
    """Which slots each of ``rows`` conditions loses in training, (rows, 5) bool."""
    everything, alone = draw.random((rows, 1)), draw.random((rows, len(SLOTS)))
    rates = np.full(len(SLOTS), dropout.token)
    rates[-1] = dropout.hardness
    return (everything < dropout.everything) | (alone < rates)


def _initial_network(
    rows: TrainingRows, text: TextEmbeddings, centroids: np.ndarray, config: DiffusionConfig
) -> ConditionedNetwork:
    mean, deviation = _standardisation(rows.features, config.seed)
    centroids = centroids if config.hardness else centroids[:0]
    sizes = DataSizes(len(mean), text.dimension, len(text.objects), len(text.relations), len(centroids))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.seed, "denoiser weights"))
        network = denoiser_classes(config.denoiser)[1](config.network, sizes)
    known = {"mean": mean, "standard_deviation": deviation, "centroids": centroids}
    known |= {"object_text": text.objects, "relation_text": text.relations}
    for name, values in known.items():
        buffer = network.get_buffer(name)
        buffer.copy_(torch.from_numpy(np.asarray(values, dtype=np.float64)).reshape(buffer.shape))
    trained = np.flatnonzero(np.bincount(rows.index))
    # So many evenly spaced conditions speak for all.
    some = np.linspace(0, len(trained) - 1, min(len(trained), CONDITIONS_FOR_STATISTICS)).astype(np.int64)
    network.fit_tokens(rows.conditions.batch(trained[some]))
    return network


def _standardisation(features: FeatureRows, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (D,) of the rows; a dimension that is all but constant has standard deviation 0."""
    if len(features) < 2:
        raise WorkbenchError(f"{len(features)} training rows: at least 2 are needed to standardise features.")
    rows = some_rows(np.arange(len(features)), ROWS_TO_STANDARDISE, seed, "standardisation")
    mean, deviation = moments(lambda rows: features(rows)[0], rows)
    deviation[deviation <= CONSTANT_SHARE * np.median(deviation)] = 0.0
    return mean, deviation


def _boxes_by_class(relations: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Distinct pairs of box row (n,) and object class (n,) int64 of both ends of all relations.

    Where the union stands in for its boxes, one row is a subject of one class and an object of another.
    """
    box = relations[["subject_box", "object_box"]].to_numpy(dtype=np.int64).reshape(-1)
    kind = relations[["subject", "object"]].to_numpy(dtype=np.int64).reshape(-1)
    # One number for each pair: numpy.unique of pairs takes many times as long.
    most = int(kind.max(initial=0)) + 1
    return np.divmod(distinct_keys(box * most + kind), most)


def _by_rarity(counts: np.ndarray, power: float) -> np.ndarray:
    weights = counts.astype(np.float64) ** -power
    return weights / weights.mean() if len(weights) else weights


def _metrics(folder: Path, rows: int, config: DiffusionConfig) -> dict:
    last, checkpoint = read_log(folder)[-1], DenoiserCheckpoint.load(folder / CHECKPOINT, "cpu")
    seen = last["step"] * config.batch_size
    return {name: value for name, value in last.items() if name.endswith("loss")} | {
        "steps": last["step"], "seconds": last["seconds"], "rows": rows, "epochs": seen / rows,
        "rows_per_second": seen / max(last["seconds"], 1e-9), "denoiser": checkpoint.denoiser,
        "target": checkpoint.network.config.target, "parameters": checkpoint.network.parameter_count(),
    }  # fmt: skip
