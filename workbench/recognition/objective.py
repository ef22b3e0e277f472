"""What a training of a recogniser minimises: a classification loss per role, and maybe VilHub and RelMix beside it.

RelMix mixes rows of rare relations with rows of more frequent ones, after the visual layers (Abdelkarim et al. 2021).
Source: reference `ltvrr.md` section 5: all terms are added with weight 1, also VilHub on the mixed logits.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from workbench.devices import full_precision
from workbench.randomness import generator
from workbench.recognition.batches import Batch, ByRole
from workbench.recognition.losses import LossConfig, role_classes, role_losses, vilhub
from workbench.recognition.lsvru import Logits, LsvruHead, VisualEmbeddings
from workbench.regions.feature_rows import Regions
from workbench.scenes.bands import Counts
from workbench.scenes.vocabulary import ROLES

FIRST_WEIGHT = 0.65  # of the rarest partner in RelMix, as in the reference
Parts = dict[str, Tensor]


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
        self._relation_weights = role_classes(counts)["relation"].weights().numpy()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Biases, class factors and offsets without weight decay; what is frozen belongs to no group."""
        undecayed = (".bias", *(f"class_{kind}.{role}" for kind in ("factor", "offset") for role in ROLES))
        trained = [(name, weight) for name, weight in self.network.named_parameters() if weight.requires_grad]
        return [
            {"params": [weight for name, weight in trained if not name.endswith(undecayed)]},
            {"params": [weight for name, weight in trained if name.endswith(undecayed)], "weight_decay": 0.0,
             "multiple": self._bias_rate},
        ]  # fmt: skip

    def forward(self, batch: Batch, step: int) -> Parts:
        """The objective's part of each role, scalars; ``step`` counts over the whole training."""
        device = next(self.network.parameters()).device
        scenes = None if batch.scenes is None else batch.scenes.on(device)
        visual = self.network.visual_embeddings(*on_device(batch.features, device), scenes)
        logits = self.network.logits(visual)
        # Relations of the head count from 1, because 0 is the background.
        labels = {role: ids + (role == "relation") for role, ids in batch.labels.items()}
        with full_precision(device):
            classified = {role: self._classified(role, getattr(logits, role), labels[role], batch) for role in ROLES}
            terms = [classified, *self._hubness(logits)]
            if self.loss.relmix != "none":
                draw = generator(self._seed, "relmix", step)
                mixing = draw_mixing(labels["relation"], self._relation_weights, self.loss.relmix, draw)
                mixed, mixed_logits = mixed_terms(self.network, visual, labels, mixing)
                terms += [mixed, *self._hubness(mixed_logits)]
            return {role: sum((term[role] for term in terms[1:]), terms[0][role]) for role in ROLES}

    def _hubness(self, logits: Logits) -> list[Parts]:
        scale = self.loss.vilhub_scale
        return [{role: vilhub(getattr(logits, role), scale) for role in ROLES}] if scale else []

    def _classified(self, role: str, logits: Tensor, ids: np.ndarray, batch: Batch) -> Tensor:
        loss, labels = self._losses[role], torch.from_numpy(ids).to(logits.device)
        total, active = logits.sum() * 0.0, batch.active[role]
        weighted = [(active & ~batch.generated, 1.0), (active & batch.generated, self._synthetic_weight)]
        for looked_at, weight in weighted if self._synthetic_weight != 1.0 else [(active, 1.0)]:
            rows = np.flatnonzero(looked_at)
            if len(rows) == len(labels):
                return weight * loss(logits, labels)
            if len(rows):
                picked = torch.from_numpy(rows).to(logits.device)
                # Divided as in the whole batch, so that a row weighs the same however many of its rows are looked at.
                divisor = getattr(loss, "divisor", len)
                share = divisor(labels[picked]) / divisor(labels)
                total = total + weight * share * loss(logits[picked], labels[picked])
        return total


def on_device(features: Regions, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Subject, union and object as float32 tensors; they travel as stored, and one that is all three travels once."""
    moved = {id(array): torch.from_numpy(array).to(device).float() for array in features}
    subject, union, object_ = (moved[id(array)] for array in features)
    return subject, union, object_


class Mixing(NamedTuple):
    """A drawn mixture of m rows: row numbers ``first`` and ``other`` (m,) int64, the first's weight (m,) float32."""

    first: np.ndarray
    other: np.ndarray
    first_weight: np.ndarray


def draw_mixing(
    relation_labels: np.ndarray, relation_weights: np.ndarray, rule: str, draw: np.random.Generator
) -> Mixing:
    """A third of the usable rows, those of the rarest relations, each with a row of the second third or of the last.

    ``relation_labels`` (n,), 0 for the background; ``relation_weights`` (R + 1,) class weights as of WCE, by which rows
    are ranked; a fair coin says from which third. ``rule`` "clean": background rows never take part, and relations of
    equal weight come in random order. "upstream": all rows take part, and since the background has the smallest weight
    and is most of a sampled image, rare rows are mostly mixed with background.
    """
    usable = np.arange(len(relation_labels))
    if rule == "clean":
        usable = draw.permutation(np.flatnonzero(relation_labels))
    rarity = relation_weights[relation_labels[usable]]
    ranked = usable[np.argsort(-rarity, kind="stable")].astype(np.int64)
    m = len(ranked) // 3
    first, second, third = ranked[: 3 * m].reshape(3, m)
    other = np.where(draw.random(m) < 0.5, second, third)
    return Mixing(first, other, np.full(m, FIRST_WEIGHT, dtype=np.float32))


def mix(values: Tensor, mixing: Mixing) -> Tensor:
    """Mixed rows (m, K) float32 of ``values`` (n, K): w x1 + (1 - w) x2, w the weight of the first."""
    first, other, first_weight = (torch.from_numpy(array).to(values.device) for array in mixing)
    return torch.lerp(values[other].float(), values[first].float(), first_weight[:, None])


def mixed_terms(head: LsvruHead, visual: VisualEmbeddings, labels: ByRole, mixing: Mixing) -> tuple[Parts, Logits]:
    """What RelMix adds to the losses, a scalar by role, and the mixed logits (m, C) for their VilHub term.

    ``labels`` (n,) int64 by role, the relation's with 0 for the background; they are mixed as the embeddings are. One
    mixture serves all roles, and the relation's layers do not run again. The soft cross-entropy is never
    class-weighted, as in the reference. Where there is nothing to mix the terms are 0; gradients are 0 then, not
    missing.
    """
    logits = head.logits(VisualEmbeddings(*(mix(embedding, mixing) for embedding in visual)))
    terms = {}
    for role, found in logits._asdict().items():
        # The soft cross-entropy is the mixture of both labels' own.
        ids = (torch.from_numpy(labels[role][rows]).long().to(found.device) for rows in (mixing.first, mixing.other))
        first, other = (functional.cross_entropy(found, label, reduction="none") for label in ids)
        mixed = torch.lerp(other, first, torch.from_numpy(mixing.first_weight).to(found.device))
        terms[role] = mixed.mean() if len(found) else found.sum() * 0.0
    return terms, logits
