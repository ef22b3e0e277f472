"""Class probabilities of a recogniser for stored features, and its numbers on validation."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as functional

from workbench.processes import Processes
from workbench.recognition.accuracy import combined_accuracy
from workbench.recognition.feature_window import on_device
from workbench.recognition.fitting import ALONE
from workbench.recognition.lsvru import LsvruHead, probabilities
from workbench.recognition.scene_features import scenes_of
from workbench.recognition.stored_features import FeatureRows
from workbench.scenes.bands import Counts
from workbench.scenes.vocabulary import ROLES

# Fixed, because the last bit of a matrix product may depend on the number of rows.
ROWS_PER_BATCH = 1024


def probability_batches(
    head: LsvruHead, features: FeatureRows, device: torch.device
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Row numbers and probabilities by role, (n, C) or (n, R) float32, batch by batch in row order."""
    for rows, logits in _logit_batches(head, features, device, ALONE):
        yield rows, {role: scores.cpu().numpy() for role, scores in probabilities(logits).items()}


def validation_of(features: FeatureRows, counts: Counts, only_trained: bool, processes: Processes = ALONE):
    """A function (head, device) -> exact-match averages in percent by role, "combined", and the mean "loss".

    Several processes share the rows, and all of them get the numbers of all rows.
    """

    def validate(head: LsvruHead, device: torch.device) -> dict[str, float]:
        # Every process fills in its own rows: the sum over processes then has them all.
        predicted = {role: torch.zeros(len(features), dtype=torch.int64, device=device) for role in ROLES}
        loss = torch.zeros((), dtype=torch.float64, device=device)
        for rows, logits in _logit_batches(head, features, device, processes):
            for role, scores in logits._asdict().items():
                drop = int(role == "relation")
                labels = torch.from_numpy(features.labels[role][rows] + drop).to(device)
                loss += functional.cross_entropy(scores, labels, reduction="sum")
                predicted[role][rows[0] : rows[-1] + 1] = scores[:, drop:].argmax(dim=1)
        found = {role: processes.sum(ids).cpu().numpy() for role, ids in predicted.items()}
        accuracy = combined_accuracy(features.labels, found, counts, only_trained)
        return accuracy | {"loss": processes.sum(loss).item() / len(features)}

    return validate


def _logit_batches(head: LsvruHead, features: FeatureRows, device: torch.device, processes: Processes):
    head.eval()
    scenes = scenes_of(features) if head.reads_scenes else None
    # Whole batches are shared out, so that each is the same however many processes there are.
    starts = range(0, len(features), ROWS_PER_BATCH)
    for start in starts[processes.part(len(starts))]:
        rows = np.arange(start, min(start + ROWS_PER_BATCH, len(features)))
        with torch.inference_mode():
            yield rows, head(*on_device(features(rows), device), None if scenes is None else scenes(rows).on(device))
