"""What trainings, sampling and measuring cost: denoiser, generated features, recognisers, evaluation."""

import functools
import json
import math
from collections.abc import Mapping
from typing import Any

from workbench.runs.cost_machines import GB
from workbench.runs.cost_networks import (
    AVERAGE_COPIES,
    BYTES_PER_WEIGHT,
    TRAINING_COPIES,
    NetworkCost,
    denoiser_cost,
    head_cost,
)
from workbench.runs.cost_stages import HALF, TABLE_BYTES, Setting, StageCost

WORD_DIMENSION = 300  # of a file of word vectors
ROWS_OF_A_PASS = 1024  # when probabilities are computed
PREDICTION_BYTES = 190  # a relation, in predictions.parquet and the result csv
RANKING_SECONDS = 1e-4  # a relation's five best classes of three roles
WINDOW_BYTES = 1.0 * GB  # two windows of features
EIGENVALUE_OPERATIONS = 25.0  # times the dimension cubed
FIDELITY_DECOMPOSITIONS = 8
REBALANCED_STRENGTHS = 8
DIFFUSION_OPTIONS = (
    "denoiser", "width", "blocks", "unet_channels", "layout", "target", "schedule", "accumulation", "heads",
    "token_width", "dropout", "skip", "unet_layers", "class_balancing",
)  # fmt: skip

ASSUMED = (
    "features are read from disk once an epoch (none of a store stays in memory)",
    "activations: what autograd keeps of a batch, in float32; half of it under bfloat16",
    "a fidelity study takes eight eigenvalue decompositions on the CPU",
)


def diffusion_cost(setting: Setting, values: Mapping[str, Any]) -> StageCost:
    """``epochs`` passes over the unions (and boxes, where entities are generated too)."""
    entities = values.get("entity_features") == "generated"
    rows = setting.data.relations["train"] + entities * setting.data.boxes["train"]
    batch, passes = values["batch_size"], values["epochs"]
    network = denoiser_of(setting, values)
    seen = math.ceil(passes * rows / batch) * batch
    predictions = 2 if values.get("class_balancing") else 1  # CBDM's other prediction has a backward pass too
    weights = (TRAINING_COPIES + AVERAGE_COPIES) * network.weight_bytes
    part = batch / setting.gpus / values.get("accumulation", 1)
    kept = predictions * part * network.saved / (HALF if setting.machine.bfloat16 else 1)
    return setting.cost(
        "diffusion", operations=predictions * seen * network.training, read=passes * rows * setting.dimension * HALF,
        # The checkpoint, and beside it the state of training while it lasts.
        written=network.weight_bytes * TRAINING_COPIES + network.weight_bytes, steps=seen / batch,
        network=weights + kept, host=WINDOW_BYTES, convolutions=_convolves(values),
        note=f"{network.parameters / 1e6:,.0f} M parameters, {seen // batch:,} steps of {batch}",
    )  # fmt: skip


def generated_cost(setting: Setting, values: Mapping[str, Any], samples: int, trained: Mapping[str, Any]) -> StageCost:
    """``samples`` triplets through all steps of the solver; twice a step with guidance; three regions or one.

    ``trained`` are the parameters of the denoiser.
    """
    from workbench.diffusion.conditioned_network import ConditionedNetwork

    network = denoiser_of(setting, trained)
    regions = 3 if values.get("entity_features") == "generated" else 1
    evaluations = values.get("steps", 20) * (1 + (values.get("guidance", 1.0) != 1.0))
    rows = samples * regions
    at_once = ConditionedNetwork.rows_at_once if trained.get("denoiser", "mlp") == "mlp" else 16
    return setting.cost(
        "generated", operations=rows * evaluations * network.forward,
        written=rows * (setting.dimension * HALF + TABLE_BYTES), read=network.weight_bytes,
        # No backward pass: about a tenth of what training keeps lives at a time.
        network=network.weight_bytes + 0.1 * at_once * network.saved, host=0.5 * GB,
        convolutions=_convolves(trained), note=f"{samples:,} samples, {evaluations} evaluations each",
    )  # fmt: skip


def fidelity_cost(setting: Setting, values: Mapping[str, Any], trained: Mapping[str, Any]) -> StageCost:
    """Samples for held-out triplets, and distances between their distribution and the real one's, on the CPU."""
    rows, network = values["most_rows"], denoiser_of(setting, trained)
    sampled = generated_cost(setting, values, rows, trained)
    measures = FIDELITY_DECOMPOSITIONS * EIGENVALUE_OPERATIONS * setting.dimension**3
    waits = {"CPU": (measures + 4.0 * rows * rows * setting.dimension) / setting.machine.host}
    return setting.cost(
        "fidelity", operations=sampled.operations, written=rows * TABLE_BYTES, read=2 * rows * setting.dimension * HALF,
        waits=waits, network=network.weight_bytes, host=6 * 8 * setting.dimension**2, shared=False,
    )  # fmt: skip


def training_cost(setting: Setting, values: Mapping[str, Any]) -> StageCost:
    """A recogniser on the real relations, each epoch followed by validation."""
    data, epochs = setting.data, values["epochs"]
    head = head_of(setting, values)
    rows, held_out = epochs * data.relations["train"], epochs * data.relations.get("val", 0)
    boxes = data.boxes["train"] + data.boxes.get("val", 0) if data.boxes_of_their_own else 0
    state = TRAINING_COPIES * head.weight_bytes
    return setting.cost(
        "recogniser", operations=rows * head.training + held_out * head.forward,
        read=(rows + held_out + epochs * boxes) * setting.dimension * HALF, written=state + head.weight_bytes,
        steps=rows / values["batch_size"], network=state + _kept(setting, values, head),
        host=2 * WINDOW_BYTES, note=f"{head.parameters / 1e6:.1f} M parameters, {rows:,} rows in {epochs} epochs",
    )  # fmt: skip


def finetuning_cost(setting: Setting, values: Mapping[str, Any], trained: Mapping[str, Any], samples: int) -> StageCost:
    """Passes over the generated rows with their share of real ones, once for each learning rate."""
    head, share = head_of(setting, trained), values.get("real_replay", 0.0)
    rates, epochs = len(values["learning_rates"]), values["epochs"]
    an_epoch = samples / (1 - share) if share < 1 else samples
    rows, held_out = rates * epochs * an_epoch, (rates * epochs + 1) * setting.data.relations.get("val", 0)
    regions = 3 if setting.data.boxes_of_their_own else 1
    state = TRAINING_COPIES * head.weight_bytes
    return setting.cost(
        "recogniser", operations=rows * head.training + held_out * head.forward,
        read=(rows + held_out) * regions * setting.dimension * HALF, written=rates * state + head.weight_bytes,
        steps=rows / values["batch_size"], network=state + _kept(setting, values, head),
        host=2 * WINDOW_BYTES, note=f"{rows:,.0f} rows in {rates} x {epochs} epochs",
    )  # fmt: skip


def rebalancing_cost(setting: Setting, values: Mapping[str, Any], trained: Mapping[str, Any]) -> StageCost:
    """Class-balanced epochs for methods that train (three rows a relation, one a role), validation for all."""
    head, trains = head_of(setting, trained), values["method"] in ("crt", "lws")
    rates = len(values.get("learning_rates", (1e-3,))) if trains else 0
    epochs = rates * values.get("epochs", 5)
    rows = 3 * epochs * setting.data.relations["train"]
    held_out = max(epochs, REBALANCED_STRENGTHS) * setting.data.relations.get("val", 0)
    regions = 3 if setting.data.boxes_of_their_own else 1
    state = TRAINING_COPIES * head.weight_bytes
    return setting.cost(
        "recogniser", operations=rows * head.training + held_out * head.forward,
        read=(rows + held_out) * regions * setting.dimension * HALF, written=head.weight_bytes,
        steps=rows / values.get("batch_size", 256), network=state + _kept(setting, values, head),
        host=2 * WINDOW_BYTES, shared=False, note=values["method"],
    )  # fmt: skip


def evaluation_cost(setting: Setting, trained: Mapping[str, Any]) -> StageCost:
    """The test split once."""
    head, rows = head_of(setting, trained), setting.data.relations.get("test", 0)
    boxes = setting.data.boxes.get("test", 0) if setting.data.boxes_of_their_own else 0
    ranking = {"CPU": rows * RANKING_SECONDS}
    return setting.cost(
        "evaluation", operations=rows * head.forward, written=rows * PREDICTION_BYTES,
        read=(rows + boxes) * setting.dimension * HALF + head.weight_bytes, network=head.weight_bytes,
        host=rows * 600 + WINDOW_BYTES, waits=ranking, shared=False,
    )  # fmt: skip


def denoiser_of(setting: Setting, values: Mapping[str, Any]) -> NetworkCost:
    """The denoiser of these parameters; ``n_centres`` is 0 where hardness is off."""
    options = {name: values[name] for name in DIFFUSION_OPTIONS if name in values}
    centres = values.get("n_centres", 0) if values.get("hardness", True) else 0
    sizes = {"dimension": setting.dimension, "text_dimension": setting.text_dimension, "centres": centres}
    return _denoiser(json.dumps(sizes | {"batch_size": values["batch_size"]} | options, sort_keys=True))


def head_of(setting: Setting, values: Mapping[str, Any]) -> NetworkCost:
    """The head of these parameters of a training."""
    words = WORD_DIMENSION if values.get("word_vectors") else setting.text_dimension
    sizes = {"hidden": values.get("hidden", 1024)} | dict(values.get("sizes") or {})
    return _head(json.dumps({
        "architecture": values.get("architecture", "lsvru"), "dimension": setting.dimension, "words": words,
        "objects": setting.data.object_classes, "relations": setting.data.relation_classes,
        "batch_size": values.get("batch_size", 256), "sizes": sizes,
        "separate_roles": not setting.data.boxes_of_their_own,
    }, sort_keys=True))  # fmt: skip


@functools.cache
def _denoiser(options: str) -> NetworkCost:
    return denoiser_cost(**json.loads(options))


@functools.cache
def _head(options: str) -> NetworkCost:
    return head_cost(**json.loads(options))


def _convolves(denoiser: Mapping[str, Any]) -> bool:
    return denoiser.get("denoiser", "mlp") == "unet"


def _kept(setting: Setting, values: Mapping[str, Any], head: NetworkCost) -> float:
    rows = max(values.get("batch_size", 256) / setting.gpus, ROWS_OF_A_PASS)
    return rows * (head.saved + 3 * BYTES_PER_WEIGHT * setting.dimension)
