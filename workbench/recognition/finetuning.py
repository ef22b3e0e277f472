"""Fine-tuning a trained recogniser on generated relation features (DiffAugment, sections 3.2 stage 4 and 4.1)."""

import contextlib
import functools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from workbench.configuration import as_values
from workbench.devices import chosen_device
from workbench.errors import WorkbenchError
from workbench.language.triplets import read_triplets
from workbench.recognition.batches import (
    Batch,
    BoxImageScenes,
    ByRole,
    OwnScenes,
    RelationRows,
    RowsOfStep,
    StepRows,
    scenes_of,
)
from workbench.recognition.config import FineTuningConfig
from workbench.recognition.evaluation import best_strengths, validation
from workbench.recognition.lsvru import LsvruHead, Scenes
from workbench.recognition.recogniser import load_recogniser
from workbench.recognition.training import HeadTraining, named_validation, store_recogniser
from workbench.regions.feature_rows import BlockOrder
from workbench.regions.features import FeaturesFolder, GeneratedFeatures
from workbench.scenes.bands import Counts
from workbench.scenes.vocabulary import ROLES
from workbench.training_config import TrainingEdge


def finetune_recogniser(
    folder: Path,
    *,
    recogniser: Path,
    generated: Path,
    features: Path,
    config: FineTuningConfig,
    triplets: Path | None = None,
    edge: TrainingEdge | None = None,
) -> dict[str, Any]:
    """Fine-tune on generated rows; learning rate and epoch are chosen on validation (exact-match Combined).

    ``triplets`` is needed for a curriculum alone. The class vectors are the recogniser's own. The recogniser before
    fine-tuning is measured on validation too and reported as ``validation_before_*``. Writes ``recogniser.safetensors``
    and ``log.jsonl`` (all learning rates); a killed run resumes.
    """
    folder, data, edge = Path(folder), FeaturesFolder(features), edge or TrainingEdge()
    start = load_recogniser(recogniser)
    start.check_fits(data.vocabulary, data.train, data.val)
    features_made = GeneratedFeatures(Path(generated), data.train)
    made = RelationRows(features_made, data.vocabulary, config.memory_gigabytes)
    active = active_roles(made.relations, config.roles, f"{made.name}/generated.parquet")
    counts = data.counts
    if config.prior == "batches":
        counts = shown_counts(counts, made.relations, active, config.real_replay)
    validate = validation(data, config)
    head = start.head.to(chosen_device(edge.device))
    before, weights_before = validate(head), _copy(head)
    with contextlib.closing(_batches(head, made, data, active, config, triplets)) as batches:
        training = HeadTraining(
            batches, counts, config.loss, validate, config, edge, config.synthetic_weight,
            first_choice=1 if config.curriculum == "none" else config.epochs // 2 + 1,
        )  # fmt: skip
        tuned, found = training.sweep(lambda: load_recogniser(recogniser).head, config.learning_rates, folder)
    weights_after, shares = _copy(tuned), config.weight_interpolation

    def mix(share: float) -> None:
        """Keep some of what would be forgotten (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models")."""
        mixed = {name: torch.lerp(weights_before[name], value, share) for name, value in weights_after.items()}
        head.load_state_dict(weights_after if share == 1 else mixed)

    best, validated = best_strengths(head, {"combined": mix}, shares, validate)
    after = validated[shares.index(best["combined"])]
    facts = {"weight_share": best["combined"], **found}
    chosen = ("curriculum", "scenes", "real_replay", "roles", "prior")
    history = {
        "stage": "finetuning", "seed": config.seed, **{name: getattr(config, name) for name in chosen}, **facts,
        "validation": after, "before": start.history | {"validation": before},
    }  # fmt: skip
    store_recogniser(folder, replace(start, head=head, loss=as_values(config.loss.name), history=history))
    reported = named_validation(before, "validation_before") | named_validation(after)
    return {"generated_rows": len(made), **facts, **reported}


def active_roles(relations: pd.DataFrame, roles: str, place: Path | str) -> ByRole:
    """Which roles of generated rows the loss looks at, (N,) bool by role.

    "all": every role. "entities": subject and object. "kept": all but the one that augmentation replaced (column
    "replaced"), so the tail role and the other one that came with it. "tail": only the tail role (column "because").
    """
    if roles in ("all", "entities"):
        return {role: np.full(len(relations), roles == "all" or role != "relation") for role in ROLES}
    column = "replaced" if roles == "kept" else "because"
    if column not in relations:
        raise WorkbenchError(f"{place}: no column {column!r}, which roles={roles!r} needs. Use roles='all'.")
    named = relations[column].to_numpy()
    return {role: (named != role) if roles == "kept" else (named == role) for role in ROLES}


def shown_counts(real: Counts, relations: pd.DataFrame, active: ByRole, real_share: float) -> Counts:
    """How often the batches of a fine-tuning show each class to a loss, scaled to the size of the real train counts.

    ``relations`` are the generated rows, ``active`` (N,) bool by role which of them the role's loss looks at.
    """
    scale = (1 - real_share) * real.relation.sum() / len(relations)
    shown = {}
    for role in ROLES:
        labels = getattr(real, role)
        generated = relations[role].to_numpy()[active[role]]
        shown[role] = real_share * labels + scale * np.bincount(generated, minlength=len(labels))
    return Counts(**shown)


class MixedBatches:
    """Generated rows, each once an epoch in a new order, with a share ``real_replay`` of real ones in every batch.

    ``active`` (by role, bool per generated row) says where a role's loss looks at generated rows; real rows always
    count. With ``easy`` (bool per generated row) easy rows come alone in the first half of the epochs, the others in
    the second. ``scenes`` are those of generated and of real rows, where the head reads them.
    """

    def __init__(
        self,
        generated: RelationRows,
        real: RelationRows,
        active: ByRole,
        config: FineTuningConfig,
        easy: np.ndarray | None = None,
        scenes: tuple[OwnScenes | None, OwnScenes | None] = (None, None),
    ):
        batch_size, seed = config.batch_size, config.seed
        n_real = round(config.real_replay * batch_size)
        n_generated = min(batch_size - n_real, len(generated))
        # Few generated rows make a small batch; its real part shrinks with it, so the share stays.
        n_real = min(n_real, math.ceil(n_generated * n_real / (batch_size - n_real)) if n_generated else len(real))
        self.steps_per_epoch = math.ceil(len(generated) / n_generated if n_generated else len(real) / n_real)
        self._parts: list[StepRows] = []
        order: RowsOfStep
        if n_generated:
            order = generated.features.order(seed, n_generated, purpose="finetuning generated").rows_of_step
            # Without hard or without easy rows (all entropies equal) there is nothing to put in an order.
            if easy is not None and 0 < easy.sum() < len(generated):
                order = _curriculum(generated, n_generated, seed, easy, config.epochs * self.steps_per_epoch / 2)
            self._parts.append(StepRows(generated, order, n_generated, scenes[0], active, generated=True))
        if n_real:
            order = real.features.order(seed, n_real, purpose="finetuning real").rows_of_step
            self._parts.append(StepRows(real, order, n_real, scenes[1]))

    def __call__(self, step: int, part: int = 0, parts: int = 1) -> Batch:
        """One of ``parts`` shares of a step's batch: generated rows first, then real ones."""
        return functools.reduce(joined, [rows(step, part, parts) for rows in self._parts])

    def close(self) -> None:
        """Stop reading ahead."""
        for rows in self._parts:
            rows.close()


def joined(first: Batch, second: Batch) -> Batch:
    """Two parts of a batch, one after the other, with their scenes."""
    scenes = None
    if first.scenes is not None and second.scenes is not None:
        moved = second.scenes._replace(of_row=second.scenes.of_row + len(first.scenes.lengths))
        scenes = Scenes(*(np.concatenate(pair) for pair in zip(first.scenes, moved, strict=True)))
    return Batch(
        tuple(np.concatenate(pair) for pair in zip(first.features, second.features, strict=True)),
        {role: np.concatenate([first.labels[role], second.labels[role]]) for role in ROLES},
        {role: np.concatenate([first.active[role], second.active[role]]) for role in ROLES},
        np.concatenate([first.generated, second.generated]),
        scenes,
    )


def _curriculum(rows: RelationRows, size: int, seed: int, easy: np.ndarray, half: float) -> RowsOfStep:
    """Easy rows in the first ``half`` of all steps, hard ones in the second, round and round as often as it takes."""
    pools, orders = (np.flatnonzero(easy), np.flatnonzero(~easy)), []
    for name, pool in zip(("easy", "hard"), pools, strict=True):
        window = size * rows.features.steps_per_window(size) if rows.features.by_blocks else len(pool)
        orders.append(BlockOrder(seed, rows=len(pool), rows_per_window=window, batch_size=size,
                                 purpose=f"finetuning {name}"))  # fmt: skip

    def rows_of_step(step: int) -> np.ndarray:
        pool = int(step >= half)
        return pools[pool][orders[pool].rows_of_step(step - pool * math.ceil(half))]

    return rows_of_step


def _batches(
    head: LsvruHead,
    made: RelationRows,
    data: FeaturesFolder,
    active: ByRole,
    config: FineTuningConfig,
    triplets: Path | None,
) -> MixedBatches:
    """Generated rows mixed with real ones."""
    # Real rows that never come into a batch need no place in memory.
    needed = config.real_replay > 0 or (head.reads_scenes and config.scenes == "image")
    real = RelationRows(data.train, data.vocabulary, config.memory_gigabytes if needed else 0.0)
    own = OwnScenes(made) if head.reads_scenes else None
    if own and config.scenes == "image":
        # Where unions stand in for boxes, a box row is a row of relations.
        boxes = data.train.boxes if data.train.entity_region == "box" else data.train.relations
        own = BoxImageScenes(made, real, boxes["image"].to_numpy())
    easy = None
    if config.curriculum != "none":
        if triplets is None:
            raise WorkbenchError("a curriculum needs the folder of augmented triplets with their hardness: triplets.")
        entropy = read_triplets(triplets).entropy(made.relations)
        easy = entropy <= np.median(entropy)  # section 4.3
    return MixedBatches(made, real, active, config, easy, (own, scenes_of(head, real)))


def _copy(head: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone() for name, value in head.state_dict().items()}
