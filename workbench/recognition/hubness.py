"""The VilHub term: against hubs, classes that a head predicts for rows of every kind.

Source: Abdelkarim et al. 2021 (visio-linguistic hubless loss); reference `ltvrr.md` section 5 (VilHub).
"""

import torch


def vilhub(logits: torch.Tensor, scale: float) -> torch.Tensor:
    """(s / C) sum_c (mean_i softmax(z_i)_c - 1 / C)^2: the distance of the mean prediction from uniform; a scalar.

    ``logits`` (n, C) before the softmax, ``scale`` s at least 0; exactly 0 where there are no rows. The term is added
    to a classification loss, for each role, and again on the mixed logits of RelMix. Shares are near 1 / C, so where
    every class is off by its whole share the term is s / C^2: the reference's s = 100000 for GQA-LT makes that 0.03
    for its C = 1703 objects and 1.03 for its 311 relations. With other numbers of classes s in proportion to C^2 keeps
    the balance. In the reference a mean runs over the pairs of one image; here over the rows handed in.
    """
    if not len(logits):
        return logits.sum() * 0.0
    shares = logits.softmax(dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))  # (n, C)
    return scale * (shares.mean(dim=0) - 1.0 / logits.shape[1]).square().mean()
