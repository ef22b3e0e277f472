"""Classification losses by name, and the class weights that they need.

Source: reference `ltvrr.md` section 5 (CE, WCE); Menon et al. 2021 for the logit-adjusted loss; `focal_loss` and
`equalization_loss` for theirs. A builder takes the training examples of each class, ``counts`` (C,), 0 where a class is
absent, whether column 0 of the logits is a background class that the counts leave out, and the parameters of all
losses, of which it reads its own.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as functional

from workbench.errors import WorkbenchError
from workbench.randomness import derived_seed
from workbench.recognition.equalization_loss import drawn, equalization, equalization_upstream, tail_classes
from workbench.recognition.focal_loss import GAMMA, focal, focal_upstream
from workbench.scenes.bands import Counts
from workbench.scenes.vocabulary import ROLES

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def class_weights(counts: np.ndarray) -> np.ndarray:
    """Weights proportional to 1 / (count + 1) with mean 1, float32 (reference section 5, WCE).

    ``counts`` (C,) training examples of each class, 0 where a class is absent.
    """
    smoothed = np.asarray(counts, dtype=np.float64) + 1.0
    inverse = smoothed.sum() / smoothed
    return (inverse / inverse.mean()).astype(np.float32)


def with_background(weights: np.ndarray) -> np.ndarray:
    """Relation weights (R,) -> (R + 1,): the background gets the smallest weight, as upstream."""
    return np.concatenate([weights.min(keepdims=True), weights])


def log_priors(counts: np.ndarray) -> np.ndarray:
    """Logarithm of add-one smoothed class shares, float32 (C,); a class without examples counts as one."""
    smoothed = np.asarray(counts, dtype=np.float64) + 1.0
    return np.log(smoothed / smoothed.sum()).astype(np.float32)


def cross_entropy(counts: np.ndarray, *, background: bool, **_: float) -> Loss:
    """Mean cross-entropy; counts are not used."""
    return functional.cross_entropy


def weighted_cross_entropy(counts: np.ndarray, *, background: bool, **_: float) -> Loss:
    """Cross-entropy weighted by inverse frequency, divided by the batch's sum of weights."""
    weight = _class_weight_tensor(counts, background)

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(logits, labels, weight=weight.to(logits.device))

    loss.divisor = lambda labels: weight.to(labels.device)[labels].sum()
    return loss


def divisor(loss: Loss, labels: torch.Tensor) -> torch.Tensor | int:
    """What a loss divides its sum over rows by: the number of rows, or, for WCE, the sum of their class weights."""
    return getattr(loss, "divisor", len)(labels)


def logit_adjusted(counts: np.ndarray, *, background: bool, tau: float = 1.0, **_: float) -> Loss:
    """Cross-entropy of logits + tau x log prior, so that the logits themselves favour no frequent class.

    The prior is the add-one smoothed share of the class among the role's labels in train; the background never occurs
    as a label on stored relations, so it is smoothed like a class without examples. Nothing is adjusted at test.
    """
    counts = np.concatenate([[0], counts]) if background else counts
    offset = torch.from_numpy(np.float32(tau) * log_priors(counts))

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(logits + offset.to(logits.device), labels)

    return loss


def focal_loss(counts: np.ndarray, *, background: bool, gamma: float = GAMMA, **_: float) -> Loss:
    """The focal loss of `focal_loss.focal`; counts are not used."""
    return partial(focal, gamma=gamma)


def focal_loss_upstream(counts: np.ndarray, *, background: bool, gamma: float = GAMMA, **_: float) -> Loss:
    """The focal loss as the reference computes it; counts are not used."""
    return partial(focal_upstream, gamma=gamma)


def weighted_focal_loss(counts: np.ndarray, *, background: bool, gamma: float = GAMMA, **_: float) -> Loss:
    """The focal loss times the class weights of WCE, divided by the number of rows."""
    return partial(focal, gamma=gamma, weight=_class_weight_tensor(counts, background))


def weighted_focal_loss_upstream(counts: np.ndarray, *, background: bool, gamma: float = GAMMA, **_: float) -> Loss:
    """The same as RelTransformer's code base computes it (LTVRR's own stops with an error)."""
    return partial(focal_upstream, gamma=gamma, weight=_class_weight_tensor(counts, background))


def equalization_loss(counts: np.ndarray, *, background: bool, seed: int = 0, **_: float) -> Loss:
    """The published softmax equalization loss by class shares, with draws from ``seed``.

    The background is no tail class: it is meant to be pushed down, and the reference too ranks it as the most
    frequent.
    """
    rare = tail_classes(counts)
    tail = torch.from_numpy(np.concatenate([[False], rare]) if background else rare)

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        draws = drawn(seed, labels, tuple(logits.shape))
        return equalization(logits, labels, tail.to(logits.device), draws, background=background)

    return loss


def equalization_loss_upstream(counts: np.ndarray, *, background: bool, seed: int = 0, **_: float) -> Loss:
    """What the reference calls EQL, with draws from ``seed``; not the published loss, and never above 0."""
    weight = _class_weight_tensor(counts, background)

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return equalization_upstream(logits, labels, weight.to(logits.device), drawn(seed, labels, (len(labels),)))

    return loss


LOSSES: dict[str, Callable[..., Loss]] = {
    "ce": cross_entropy,
    "wce": weighted_cross_entropy,
    "logit_adjusted": logit_adjusted,
    "focal": focal_loss,
    "focal_upstream": focal_loss_upstream,
    "weighted_focal": weighted_focal_loss,
    "weighted_focal_upstream": weighted_focal_loss_upstream,
    "equalization": equalization_loss,
    "equalization_upstream": equalization_loss_upstream,
}


def role_losses(
    name: str, counts: Counts, tau: float = 1.0, gamma: float = GAMMA, seed: int = 0
) -> dict[str, Loss]:  # fmt: skip
    """One loss per role.

    Subjects and objects share the counts of the object classes, as upstream; a prior ("logit_adjusted") is that of the
    role's own labels, since some classes are hardly ever subjects.
    Labels: subject and object 0..C-1, relation 1..R (0 is the background). ``tau`` is for "logit_adjusted", ``gamma``
    for the focal losses, ``seed`` for the draws of the equalization losses, which differ from role to role.
    """
    if name not in LOSSES:
        raise WorkbenchError(f"loss {name!r} is not known. Choose one of: {', '.join(LOSSES)}.")
    if gamma < 0:
        raise WorkbenchError(f"gamma is {gamma}; expected 0 (plain cross-entropy times alpha) or more.")
    of_role = counts.labels_of_role if name == "logit_adjusted" else counts.of_role
    return {
        role: LOSSES[name](
            of_role(role),
            background=role == "relation",
            tau=tau,
            gamma=gamma,
            seed=derived_seed(seed, "loss", role),
        )
        for role in ROLES
    }


def _class_weight_tensor(counts: np.ndarray, background: bool) -> torch.Tensor:
    weights = class_weights(counts)
    return torch.from_numpy(with_background(weights) if background else weights)
