"""Class probabilities of a recogniser for stored features, and its numbers on validation."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as functional

from workbench.recognition.accuracy import combined_accuracy
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
    for rows, logits in _logit_batches(head, features, device):
        yield rows, {role: scores.cpu().numpy() for role, scores in probabilities(logits).items()}


def validation_of(features: FeatureRows, counts: Counts, only_trained: bool):
    """A function (head, device) -> exact-match averages in percent by role, "combined", and the mean "loss"."""

    def validate(head: LsvruHead, device: torch.device) -> dict[str, float]:
        predicted: dict[str, list[np.ndarray]] = {role: [] for role in ROLES}
        loss = 0.0
        for rows, logits in _logit_batches(head, features, device):
            for role, scores in logits._asdict().items():
                drop = int(role == "relation")
                labels = torch.from_numpy(features.labels[role][rows] + drop).to(device)
                loss += functional.cross_entropy(scores, labels, reduction="sum").item()
                predicted[role].append(scores[:, drop:].argmax(dim=1).cpu().numpy())
        found = {role: np.concatenate(parts) for role, parts in predicted.items()}
        return combined_accuracy(features.labels, found, counts, only_trained) | {"loss": loss / len(features)}

    return validate


def _logit_batches(head: LsvruHead, features: FeatureRows, device: torch.device):
    head.eval()
    scenes = scenes_of(features) if head.reads_scenes else None
    for start in range(0, len(features), ROWS_PER_BATCH):
        rows = np.arange(start, min(start + ROWS_PER_BATCH, len(features)))
        with torch.inference_mode():
            regions = [torch.from_numpy(array).to(device) for array in features(rows)]
            yield rows, head(*regions, None if scenes is None else scenes(rows).on(device))
