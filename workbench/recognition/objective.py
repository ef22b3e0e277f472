"""What a training of a recogniser minimises: a classification loss per role, and maybe VilHub and RelMix beside it.

Source: reference `ltvrr.md` section 5: all terms are added with weight 1, also VilHub on the mixed logits.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from workbench.devices import full_precision
from workbench.randomness import generator
from workbench.recognition.batches import Batch
from workbench.recognition.config import LossConfig
from workbench.recognition.losses import class_weights, divisor, role_losses, vilhub, with_background
from workbench.recognition.lsvru import Logits, LsvruHead, VisualEmbeddings
from workbench.recognition.relmix import RelMix, relmix_terms
from workbench.regions.feature_rows import Regions
from workbench.scenes.bands import Counts
from workbench.scenes.vocabulary import ROLES


@dataclass
class Targets:
    """Labels (n,) int64 by role, the relation's with 0 for the background; ``active`` (n,) bool by role or None for
    all; ``generated`` (n,) bool or None for none.
    """

    labels: dict[str, torch.Tensor]
    active: dict[str, np.ndarray] | None = None
    generated: np.ndarray | None = None


class RecogniserObjective(nn.Module):
    """The losses of a head, for the class counts of a train split; draws belong to (seed, step).

    ``synthetic_weight`` is the weight of generated rows in the classification loss; VilHub and RelMix look at all rows
    alike. ``bias_rate`` multiplies the learning rate of what has no weight decay: biases, class factors and offsets.
    """

    def __init__(
        self,
        network: LsvruHead,
        loss: LossConfig,
        counts: Counts,
        seed: int = 0,
        *,
        synthetic_weight: float = 1.0,
        bias_rate: float = 1.0,
    ):
        super().__init__()
        self.network, self.loss, self._seed = network, loss, seed
        self._synthetic_weight, self._bias_rate = synthetic_weight, bias_rate
        self._losses = role_losses(loss, counts, seed)
        self._relation_weights = with_background(class_weights(counts.relations))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Biases, class factors and offsets without weight decay; what is frozen belongs to no group."""
        undecayed = (".bias", *(f"class_{kind}.{role}" for kind in ("factor", "offset") for role in ROLES))
        trained = [(name, weight) for name, weight in self.network.named_parameters() if weight.requires_grad]
        return [
            {"params": [weight for name, weight in trained if not name.endswith(undecayed)]},
            {"params": [weight for name, weight in trained if name.endswith(undecayed)], "weight_decay": 0.0,
             "multiple": self._bias_rate},
        ]  # fmt: skip

    def forward(self, batch: Batch, step: int) -> dict[str, torch.Tensor]:
        """The objective's part of each role, scalars; ``step`` counts over the whole training."""
        device = next(self.network.parameters()).device
        scenes = None if batch.scenes is None else batch.scenes.on(device)
        visual = self.network.visual_embeddings(*on_device(batch.features, device), scenes)
        logits = self.network.logits(visual)
        # Relations of the head count from 1, because 0 is the background.
        labels = {role: torch.from_numpy(ids + (role == "relation")).to(device) for role, ids in batch.labels.items()}
        with full_precision(device):
            return self.parts(visual, logits, Targets(labels, batch.active, batch.generated), step)

    def parts(self, visual: VisualEmbeddings, logits: Logits, targets: Targets, step: int) -> dict[str, torch.Tensor]:
        """The same of embeddings and logits that are computed already."""
        parts = {role: self._classified(role, getattr(logits, role), targets) for role in ROLES}
        if self.loss.vilhub_scale:
            self._add(parts, self._hubness(logits))
        if self.loss.relmix != "none":
            labels = {role: values.cpu().numpy() for role, values in targets.labels.items()}
            mixed, mixed_logits = relmix_terms(
                self.network, visual, labels, self._relation_weights, RelMix(self.loss.relmix),
                generator(self._seed, "relmix", step),
            )  # fmt: skip
            self._add(parts, mixed)
            if self.loss.vilhub_scale:
                self._add(parts, self._hubness(mixed_logits))
        return parts

    def _hubness(self, logits: Logits) -> dict[str, torch.Tensor]:
        return {role: vilhub(getattr(logits, role), self.loss.vilhub_scale) for role in ROLES}

    def _classified(self, role: str, logits: torch.Tensor, targets: Targets) -> torch.Tensor:
        labels, loss = targets.labels[role], self._losses[role]
        total = logits.sum() * 0.0
        for rows, weight in self._groups(role, targets, len(labels)):
            if len(rows) == len(labels):
                return weight * loss(logits, labels)
            if len(rows):
                picked = torch.from_numpy(rows).to(logits.device)
                # Divided as in the whole batch, so that a row weighs the same however many of its rows are looked at.
                share = divisor(loss, labels[picked]) / divisor(loss, labels)
                total = total + weight * share * loss(logits[picked], labels[picked])
        return total

    def _groups(self, role: str, targets: Targets, n: int) -> list[tuple[np.ndarray, float]]:
        """Rows of equal weight that the loss of ``role`` looks at."""
        active = np.ones(n, dtype=bool) if targets.active is None else targets.active[role]
        if self._synthetic_weight == 1.0 or targets.generated is None:
            return [(np.flatnonzero(active), 1.0)]
        real = np.flatnonzero(active & ~targets.generated)
        return [(real, 1.0), (np.flatnonzero(active & targets.generated), self._synthetic_weight)]

    @staticmethod
    def _add(parts: dict[str, torch.Tensor], further: dict[str, torch.Tensor]) -> None:
        for role, value in further.items():
            parts[role] = parts[role] + value


def on_device(features: Regions, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Subject, union and object as float32 tensors; they travel as stored, and one that is all three travels once."""
    subject, union, object_ = features
    if subject is union is object_:
        return (torch.from_numpy(union).to(device).float(),) * 3
    moved = [torch.from_numpy(array).to(device).float() for array in features]
    return moved[0], moved[1], moved[2]
