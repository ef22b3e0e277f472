"""The focal loss, published and as the reference computes it, with and without class weights.

Source: Lin et al. 2017; reference `ltvrr.md` section 5 (focal, weighted focal).
"""

import torch

ALPHA = 0.25
GAMMA = 2.0
# The reference adds this to every probability and to every entry of the one-hot labels.
SMOOTHING = 1e-6


def focal(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    gamma: float = GAMMA,
    alpha: float = ALPHA,
    weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean over rows of -alpha w_y (1 - p_y)^gamma log p_y, with p the softmax; a scalar.

    ``logits`` (n, C), ``labels`` (n,) int64, ``weight`` (C,) class weights w, all 1 where None. As in the reference,
    alpha is one factor for all classes and the sum is divided by n, not by the rows' weights.
    """
    log_share = logits.log_softmax(dim=1, dtype=_accurate(logits)).gather(1, labels[:, None])[:, 0]  # (n,)
    terms = -alpha * _away_from_zero(-torch.expm1(log_share)) ** gamma * log_share
    return (terms if weight is None else weight.to(logits.device)[labels] * terms).mean()


def focal_upstream(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    gamma: float = GAMMA,
    alpha: float = ALPHA,
    weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """The reference's focal loss: mean_i sum_c (1[c = y_i] + 1e-6) (-alpha w_c (1 - p_c)^gamma log p_c).

    p is the softmax plus 1e-6, which caps -log p at 13.8 and so the pull on rows that are far off; arguments as in
    `focal`. The reference is not a number where p_c > 1 and gamma is no whole number; here 1 - p_c stops at the
    precision of the number format.
    """
    shares = logits.softmax(dim=1, dtype=_accurate(logits)) + SMOOTHING  # (n, C)
    terms = -alpha * _away_from_zero(1.0 - shares) ** gamma * shares.log()
    if weight is not None:
        terms = weight.to(logits.device) * terms
    own = terms.gather(1, labels[:, None])[:, 0]
    return (own + SMOOTHING * terms.sum(dim=1)).mean()


def _away_from_zero(values: torch.Tensor) -> torch.Tensor:
    # The derivative of x^gamma at 0 is infinite for gamma < 1, and infinity times 0 is not a number.
    return values.clamp_min(torch.finfo(values.dtype).eps)


def _accurate(logits: torch.Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)
