"""Classification losses by name, the class weights that they need, and the VilHub term beside them.

A loss is a function of logits (n, C) and labels (n,) int64 to a scalar, the mean over rows. It is made for one role by
a builder in `LOSSES`, ``builder(classes: RoleClasses, config: LossConfig) -> Loss``; `docs/own-loss.md` adds one.

Source: reference `ltvrr.md` section 5; Menon et al. 2021 (logit adjustment); Lin et al. 2017 (focal); Tan et al. 2020
(softmax equalization loss); Abdelkarim et al. 2021 (VilHub).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from workbench.randomness import derived_seed, torch_generator
from workbench.ranges import NonNegative, Ranged
from workbench.registry import Registry
from workbench.scenes.bands import Counts
from workbench.scenes.vocabulary import ROLES

Loss = Callable[[Tensor, Tensor], Tensor]

FOCAL_ALPHA = 0.25
# The reference adds this to every probability and to every entry of the one-hot labels.
FOCAL_SMOOTHING = 1e-6
# Tan et al. 2020, the values for long-tailed classification; the reference uses the same two numbers.
TAIL_SHARE, EQUALIZATION_GAMMA = 4.3e-4, 0.9


@dataclass(frozen=True)
class LossConfig(Ranged):
    """What is minimised: a classification loss and the terms that are added to it.

    ``name`` is one of `LOSSES`, "module:name" or a builder itself; ``tau`` is the strength of "logit_adjusted",
    ``gamma`` the exponent of the focal losses, ``options`` whatever else an own loss reads. ``vilhub_scale`` weighs the
    VilHub term (0 is none, the reference takes 100000 on GQA-LT); ``relmix`` is a rule of `objective.draw_mixing`. Both
    terms look at all rows and roles alike.
    """

    name: str | Callable = "ce"
    tau: NonNegative = 1.0
    gamma: NonNegative = 2.0
    vilhub_scale: NonNegative = 0.0
    relmix: Literal["none", "clean", "upstream"] = "none"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        LOSSES.resolve(self.name)
        super().__post_init__()


@dataclass(frozen=True)
class RoleClasses:
    """What a loss may know of the classes of its role.

    ``counts`` (C,) training examples that rank the classes (subject and object share theirs, as upstream); ``labels``
    (C,) how often each is this role's own label, since some are hardly ever subjects; 0 where a class is absent.
    ``background``: the logits have a column 0 for "no relation", which both leave out and which no stored row has as
    its label. ``seed`` is for the loss's own draws and differs from role to role.
    """

    counts: np.ndarray
    labels: np.ndarray
    background: bool = False
    seed: int = 0

    def weights(self) -> Tensor:
        """Weights of the logits' columns, float32: proportional to 1 / (count + 1), mean 1 (reference section 5, WCE).

        The background gets the smallest weight of a class, as upstream.
        """
        smoothed = self.counts + 1.0
        inverse = smoothed.sum() / smoothed
        weights = (inverse / inverse.mean()).astype(np.float32)
        return torch.from_numpy(np.concatenate([weights.min(keepdims=True), weights]) if self.background else weights)

    def log_priors(self) -> Tensor:
        """Logarithms of the columns' add-one smoothed shares of ``labels``, float32; the background counts as one."""
        smoothed = np.append([0] * self.background, self.labels) + 1.0
        return torch.from_numpy(np.log(smoothed / smoothed.sum()).astype(np.float32))


def role_classes(counts: Counts, seed: int = 0) -> dict[str, RoleClasses]:
    """The classes of each role."""
    return {
        role: RoleClasses(
            counts.of_role(role), getattr(counts, role), role == "relation", derived_seed(seed, "loss", role)
        )
        for role in ROLES
    }


def role_losses(config: LossConfig, counts: Counts, seed: int = 0) -> dict[str, Loss]:
    """One loss per role. Labels: subject and object 0..C-1, relation 1..R (0 is the background)."""
    build = LOSSES.resolve(config.name)
    return {role: build(classes, config) for role, classes in role_classes(counts, seed).items()}


class WeightedCrossEntropy:
    """Cross-entropy weighted by inverse frequency, divided by the batch's sum of weights."""

    def __init__(self, classes: RoleClasses, config: LossConfig):
        self.weight = classes.weights()

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of logits (n, C) and labels (n,)."""
        return functional.cross_entropy(logits, labels, weight=self.weight.to(logits.device))

    def divisor(self, labels: Tensor) -> Tensor:
        """The sum of the weights of labels (n,)."""
        return self.weight.to(labels.device)[labels].sum()


def logit_adjusted(classes: RoleClasses, config: LossConfig) -> Loss:
    """Cross-entropy of logits + tau x `log_priors`, so that the logits favour no frequent class; none at test."""
    offset = config.tau * classes.log_priors()
    return lambda logits, labels: functional.cross_entropy(logits + offset.to(logits.device), labels)


def focal(logits: Tensor, labels: Tensor, *, gamma: float, weight: Tensor | None = None) -> Tensor:
    """Mean over rows of -alpha w_y (1 - p_y)^gamma log p_y, with p the softmax; a scalar.

    ``logits`` (n, C), ``labels`` (n,) int64, ``weight`` (C,) class weights w, all 1 where None. As in the reference,
    alpha is one factor for all classes and the sum is divided by n, not by the rows' weights.
    """
    log_share = logits.log_softmax(dim=1, dtype=_accurate(logits)).gather(1, labels[:, None])[:, 0]  # (n,)
    terms = -FOCAL_ALPHA * _away_from_zero(-torch.expm1(log_share)) ** gamma * log_share
    return (terms if weight is None else weight.to(logits.device)[labels] * terms).mean()


def focal_upstream(logits: Tensor, labels: Tensor, *, gamma: float, weight: Tensor | None = None) -> Tensor:
    """The reference's focal loss: mean_i sum_c (1[c = y_i] + 1e-6) (-alpha w_c (1 - p_c)^gamma log p_c).

    p is the softmax plus 1e-6, which caps -log p at 13.8 and so the pull on rows that are far off; arguments as in
    `focal`. The reference is not a number where p_c > 1 and gamma is no whole number; here 1 - p_c stops at the
    precision of the number format.
    """
    shares = logits.softmax(dim=1, dtype=_accurate(logits)) + FOCAL_SMOOTHING  # (n, C)
    terms = -FOCAL_ALPHA * _away_from_zero(1.0 - shares) ** gamma * shares.log()
    if weight is not None:
        terms = weight.to(logits.device) * terms
    own = terms.gather(1, labels[:, None])[:, 0]
    return (own + FOCAL_SMOOTHING * terms.sum(dim=1)).mean()


def _away_from_zero(values: Tensor) -> Tensor:
    # The derivative of x^gamma at 0 is infinite for gamma < 1, and infinity times 0 is not a number.
    return values.clamp_min(torch.finfo(values.dtype).eps)


def _accurate(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)


def equalization_loss(classes: RoleClasses, config: LossConfig) -> Loss:
    """Cross-entropy in which rows of other classes seldom push tail classes down.

    The denominator of the softmax weighs class k by 1 - beta T_k (1 - y_k), with beta drawn for each row and class and
    T the classes with less than 4.3e-4 of all examples (all, where there is no example). The background, which is meant
    to be pushed down, is none; no stored row has it as its label, so the paper's foreground indicator is 1.
    """
    tail = classes.counts < TAIL_SHARE * (classes.counts.sum() or 1)
    in_tail = torch.from_numpy(np.append([False] * classes.background, tail).astype(bool))  # (C,)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        draws = equalization_draws(classes.seed, labels, tuple(logits.shape))
        ignored = (draws & in_tail.to(logits.device)).scatter(1, labels[:, None], False)  # (n, C)
        return functional.cross_entropy(logits.masked_fill(ignored, -torch.inf), labels)

    return loss


def equalization_loss_upstream(classes: RoleClasses, config: LossConfig) -> Loss:
    """What the reference calls EQL, not the published loss: minus the mean probability of the label, in -1..0.

    A row whose own class weight (mean 1) exceeds 4.3e-4 and whose draw is true has probability 1 and teaches nothing.
    """
    weight = classes.weights()

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        draws = equalization_draws(classes.seed, labels, (len(labels),))
        alone = draws & (weight.to(logits.device)[labels] > TAIL_SHARE)  # (n,)
        shares = logits.softmax(dim=1).gather(1, labels[:, None])[:, 0]
        return -torch.where(alone, torch.ones_like(shares), shares).mean()

    return loss


def equalization_draws(seed: int, labels: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Bernoulli(0.9) draws of ``shape`` bool on the labels' device, a function of (seed, the labels in order).

    No state is kept between batches, so a resumed training and one without interruption draw alike; batches in a new
    order each epoch get new draws. The draws are made on the CPU, so that every device sees the same.
    """
    batch = hashlib.sha256(labels.cpu().numpy().astype("<i8").tobytes()).hexdigest()
    source = torch_generator(seed, "equalization", batch)
    return (torch.rand(shape, generator=source) < EQUALIZATION_GAMMA).to(labels.device)


def vilhub(logits: Tensor, scale: float) -> Tensor:
    """(s / C) sum_c (mean_i softmax(z_i)_c - 1 / C)^2: the distance of the mean prediction from uniform; a scalar.

    A term against hubs, classes that a head predicts for rows of every kind. ``logits`` (n, C) before the softmax,
    ``scale`` s at least 0; exactly 0 where there are no rows. Where every class is off by its whole share 1 / C the
    term is s / C^2, so s in proportion to C^2 keeps the balance: the reference's 100000 for GQA-LT makes 0.03 for its
    1703 objects. In the reference a mean runs over the pairs of one image; here over the rows handed in.
    """
    if not len(logits):
        return logits.sum() * 0.0
    shares = logits.softmax(dim=1, dtype=_accurate(logits))  # (n, C)
    return scale * (shares.mean(dim=0) - 1.0 / logits.shape[1]).square().mean()


LOSSES: Registry[Callable[[RoleClasses, LossConfig], Loss]] = Registry(
    "loss",
    {
        "ce": lambda classes, config: functional.cross_entropy,
        "wce": WeightedCrossEntropy, "logit_adjusted": logit_adjusted,
        "focal": lambda classes, config: partial(focal, gamma=config.gamma),
        "focal_upstream": lambda classes, config: partial(focal_upstream, gamma=config.gamma),
        "weighted_focal": lambda classes, config: partial(focal, gamma=config.gamma, weight=classes.weights()),
        "weighted_focal_upstream": lambda classes, config: partial(
            focal_upstream, gamma=config.gamma, weight=classes.weights()),
        "equalization": equalization_loss, "equalization_upstream": equalization_loss_upstream,
    },
)  # fmt: skip
LossNames: Any = list[LOSSES]  # type: ignore[valid-type]  # of a notebook's parameter
