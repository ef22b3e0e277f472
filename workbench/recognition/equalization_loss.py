"""The softmax equalization loss, published and as the reference codes it, as functions of explicit draws.

Source: Tan et al. 2020, the softmax form for classification; reference `ltvrr.md` section 5 (EQL).
"""

import hashlib

import numpy as np
import torch
import torch.nn.functional as functional

from workbench.randomness import torch_generator

# Tan et al. 2020, the values for long-tailed classification; the reference uses the same two numbers.
TAIL_SHARE = 4.3e-4
GAMMA = 0.9


def tail_classes(counts: np.ndarray, share: float = TAIL_SHARE) -> np.ndarray:
    """Which classes have less than ``share`` of all examples, (C,) bool; ``counts`` (C,) training examples.

    Without any example every class is a tail class.
    """
    counts = np.asarray(counts, dtype=np.float64)
    return counts < share * counts.sum() if counts.any() else np.ones(len(counts), dtype=bool)


def equalization(
    logits: torch.Tensor, labels: torch.Tensor, tail: torch.Tensor, draws: torch.Tensor, *, background: bool = False
) -> torch.Tensor:
    """Cross-entropy in which rows of other classes seldom push tail classes down; a scalar, mean over rows.

    The denominator of the softmax weighs class k by 1 - beta E T_k (1 - y_k): ``tail`` (C,) bool is T, ``draws``
    (n, C) bool is beta, one for each row and class. With ``background`` rows of label 0 have E = 0, so that they keep
    all their negatives (the paper's foreground indicator); otherwise E = 1. ``logits`` (n, C), ``labels`` (n,) int64.
    """
    ignored = draws & tail  # (n, C)
    ignored = ignored.scatter(1, labels[:, None], False)
    if background:
        ignored = ignored & (labels > 0)[:, None]
    return functional.cross_entropy(logits.masked_fill(ignored, -torch.inf), labels)


def equalization_upstream(
    logits: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor, draws: torch.Tensor
) -> torch.Tensor:
    """What the reference calls EQL: minus the mean of the re-weighted probability of the label, without logarithm.

    A row whose own class weight (``weight`` (C,), mean 1) exceeds 4.3e-4 and whose draw (``draws`` (n,) bool) is true
    keeps nothing but its label in the denominator: its probability is 1 and it teaches nothing. For comparison with
    published tables only; `equalization` is the published loss. ``logits`` (n, C), ``labels`` (n,) int64; a scalar in
    -1..0.
    """
    alone = draws & (weight[labels] > TAIL_SHARE)  # (n,)
    shares = logits.softmax(dim=1).gather(1, labels[:, None])[:, 0]
    return -torch.where(alone, torch.ones_like(shares), shares).mean()


def drawn(seed: int, labels: torch.Tensor, shape: tuple[int, ...], gamma: float = GAMMA) -> torch.Tensor:
    """Bernoulli(gamma) draws of ``shape`` bool on the labels' device, a function of (seed, the labels in order).

    No state is kept between batches, so a resumed fit and one without interruption draw alike; batches in a new
    order each epoch get new draws. The draws are made on the CPU, so that every device sees the same.
    """
    batch = hashlib.sha256(labels.cpu().numpy().astype("<i8").tobytes()).hexdigest()
    source = torch_generator(seed, "equalization", batch)
    return (torch.rand(shape, generator=source) < gamma).to(labels.device)
