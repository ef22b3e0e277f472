"""What a fit minimises: a classification loss per role, and maybe VilHub and RelMix terms beside it.

Source: reference `ltvrr.md` section 5: all terms are added with weight 1, also VilHub on the mixed logits.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from workbench.errors import WorkbenchError
from workbench.randomness import generator
from workbench.recognition.hubness import vilhub
from workbench.recognition.losses import Loss, class_weights, divisor, role_losses, with_background
from workbench.recognition.lsvru import Logits, LsvruHead, VisualEmbeddings
from workbench.recognition.relmix import RULES, RelMix, relmix_terms
from workbench.scenes.bands import Counts
from workbench.scenes.vocabulary import ROLES

RELMIX_RULES = ("none", *RULES)


@dataclass(frozen=True)
class ObjectivePlan:
    """Terms by name: ``loss`` as in `LOSSES` (``tau``, ``gamma`` its parameters), ``vilhub_scale`` (0 is none),
    ``relmix`` "none", "clean" or "upstream", ``synthetic_weight`` the weight of generated rows in the classification
    loss. VilHub and RelMix look at all rows and roles alike.
    """

    loss: str = "ce"
    tau: float = 1.0
    gamma: float = 2.0
    vilhub_scale: float = 0.0
    relmix: str = "none"
    synthetic_weight: float = 1.0

    def check(self) -> None:
        """Refuse values outside their range; unknown losses are refused where they are built."""
        if self.relmix not in RELMIX_RULES:
            raise WorkbenchError(f"relmix {self.relmix!r} is not known. Choose one of: {', '.join(RELMIX_RULES)}.")
        for name in ("vilhub_scale", "synthetic_weight"):
            if getattr(self, name) < 0:
                raise WorkbenchError(f"{name} is {getattr(self, name)}; expected 0 or more.")


@dataclass
class Targets:
    """Labels (n,) int64 by role, the relation's with 0 for the background; ``active`` (n,) bool by role or None for
    all; ``generated`` (n,) bool or None for none.
    """

    labels: dict[str, torch.Tensor]
    active: dict[str, np.ndarray] | None = None
    generated: np.ndarray | None = None


class Objective:
    """The terms of a plan for the class counts of a train split; draws belong to (seed, step)."""

    def __init__(self, plan: ObjectivePlan, counts: Counts, seed: int):
        plan.check()
        self.plan, self._seed = plan, seed
        self._losses: dict[str, Loss] = role_losses(plan.loss, counts, tau=plan.tau, gamma=plan.gamma, seed=seed)
        self._relation_weights = with_background(class_weights(counts.relations))

    def __call__(
        self, head: LsvruHead, visual: VisualEmbeddings, logits: Logits, targets: Targets, step: int
    ) -> dict[str, torch.Tensor]:
        """The objective's part of each role, scalars; ``step`` counts over the whole fit."""
        parts = {role: self._classified(role, getattr(logits, role), targets) for role in ROLES}
        if self.plan.vilhub_scale:
            self._add(parts, self._hubness(logits))
        if self.plan.relmix != "none":
            labels = {role: values.cpu().numpy() for role, values in targets.labels.items()}
            mixed, mixed_logits = relmix_terms(
                head, visual, labels, self._relation_weights, RelMix(self.plan.relmix),
                generator(self._seed, "relmix", step),
            )  # fmt: skip
            self._add(parts, mixed)
            if self.plan.vilhub_scale:
                self._add(parts, self._hubness(mixed_logits))
        return parts

    def _hubness(self, logits: Logits) -> dict[str, torch.Tensor]:
        return {role: vilhub(getattr(logits, role), self.plan.vilhub_scale) for role in ROLES}

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
        if self.plan.synthetic_weight == 1.0 or targets.generated is None:
            return [(np.flatnonzero(active), 1.0)]
        real = np.flatnonzero(active & ~targets.generated)
        return [(real, 1.0), (np.flatnonzero(active & targets.generated), self.plan.synthetic_weight)]

    @staticmethod
    def _add(parts: dict[str, torch.Tensor], further: dict[str, torch.Tensor]) -> None:
        for role, value in further.items():
            parts[role] = parts[role] + value


ObjectiveFunction = Callable[[LsvruHead, VisualEmbeddings, Logits, Targets, int], dict[str, torch.Tensor]]
