"""Class probabilities of a recogniser for stored features, and its numbers on validation."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional

from workbench.recognition.accuracy import combined_accuracy
from workbench.recognition.batches import RelationRows
from workbench.recognition.lsvru import Logits, LsvruHead, probabilities
from workbench.recognition.objective import on_device
from workbench.recognition.scenes import scenes_of
from workbench.scenes.bands import Counts
from workbench.scenes.vocabulary import ROLES

# Fixed, because the last bit of a matrix product may depend on the number of rows.
ROWS_PER_BATCH = 1024

Validate = Callable[[Any], dict[str, float]]  # of a head


def probability_batches(head: LsvruHead, rows: RelationRows) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Row numbers and probabilities by role, (n, C) or (n, R) float32, batch by batch in row order."""
    for numbers, logits in _logit_batches(head, rows):
        yield numbers, {role: scores.cpu().numpy() for role, scores in probabilities(logits).items()}


def validation_of(rows: RelationRows, counts: Counts, only_trained: bool) -> Validate:
    """A function of a head: exact-match averages in percent by role, "combined", and the mean "loss"."""

    def validate(head: LsvruHead) -> dict[str, float]:
        predicted: dict[str, list[np.ndarray]] = {role: [] for role in ROLES}
        loss = 0.0
        for numbers, logits in _logit_batches(head, rows):
            for role, scores in logits._asdict().items():
                drop = int(role == "relation")
                labels = torch.from_numpy(rows.labels[role][numbers] + drop).to(scores.device)
                loss += functional.cross_entropy(scores, labels, reduction="sum").item()
                predicted[role].append(scores[:, drop:].argmax(dim=1).cpu().numpy())
        found = {role: np.concatenate(ids) for role, ids in predicted.items()}
        return combined_accuracy(rows.labels, found, counts, only_trained) | {"loss": loss / len(rows)}

    return validate


def _logit_batches(head: LsvruHead, rows: RelationRows) -> Iterator[tuple[np.ndarray, Logits]]:
    head.eval()
    device = next(head.parameters()).device
    scenes = scenes_of(rows) if head.reads_scenes else None
    for start in range(0, len(rows), ROWS_PER_BATCH):
        numbers = np.arange(start, min(start + ROWS_PER_BATCH, len(rows)))
        with torch.inference_mode():
            yield (
                numbers,
                head(*on_device(rows(numbers), device), None if scenes is None else scenes(numbers).on(device)),
            )
