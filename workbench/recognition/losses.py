"""Classification losses by name, and the class weights that they need.

Source: reference `ltvrr.md` section 5 (CE, WCE); Menon et al. 2021 for the logit-adjusted loss.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as functional

from workbench.errors import WorkbenchError

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


def cross_entropy(counts: np.ndarray, *, background: bool, tau: float = 1.0) -> Loss:
    """Mean cross-entropy; counts and tau are not used."""
    return functional.cross_entropy


def weighted_cross_entropy(counts: np.ndarray, *, background: bool, tau: float = 1.0) -> Loss:
    """Cross-entropy weighted by inverse frequency, divided by the batch's sum of weights; tau is not used."""
    weights = class_weights(counts)
    weight = torch.from_numpy(with_background(weights) if background else weights)

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(logits, labels, weight=weight.to(logits.device))

    return loss


def logit_adjusted(counts: np.ndarray, *, background: bool, tau: float = 1.0) -> Loss:
    """Cross-entropy of logits + tau x log prior, so that the logits themselves favour no frequent class.

    The prior is the add-one smoothed share of the class in train; the background never occurs as a label on
    stored relations, so it is smoothed like a class without examples. Nothing is adjusted at test.
    """
    counts = np.concatenate([[0], counts]) if background else counts
    offset = torch.from_numpy(np.float32(tau) * log_priors(counts))

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(logits + offset.to(logits.device), labels)

    return loss


LOSSES: dict[str, Callable[..., Loss]] = {
    "ce": cross_entropy,
    "wce": weighted_cross_entropy,
    "logit_adjusted": logit_adjusted,
}


def role_losses(name: str, object_counts: np.ndarray, relation_counts: np.ndarray, tau: float = 1.0) -> dict[str, Loss]:
    """One loss per role; subjects and objects share the counts of the object classes, as upstream.

    Labels: subject and object 0..C-1, relation 1..R (0 is the background).
    """
    if name not in LOSSES:
        raise WorkbenchError(f"loss {name!r} is not known. Choose one of: {', '.join(LOSSES)}.")
    build = LOSSES[name]
    entity = build(object_counts, background=False, tau=tau)
    return {"subject": entity, "relation": build(relation_counts, background=True, tau=tau), "object": entity}
