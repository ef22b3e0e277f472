"""Class-balancing regulariser of diffusion training: the prediction for a rare class leans on that for other classes.

Qin et al. 2023, "Class-Balancing Diffusion Models": beside the denoising error, the prediction for a row's own
condition y is drawn to the one for a condition y' from a balanced label distribution, more so the noisier the row is::

    w ( |e(y)|^2 + tau s |f(y) - sg f(y')|^2 + gamma tau s |sg f(y) - f(y')|^2 ),  gamma = 1/4

with f the network's output at the same noisy feature, e its error and sg a stopped gradient. Two things are ours. ``s``
is the time as a share of the schedule, (t + 1) / T, so that tau 1 here is 1 / T for each timestep. And f is the output
in the network's own target, with the weight ``w`` of the denoising loss at that noise level. For the target epsilon w
is 1 and this is the article's loss. A difference in epsilon is alpha / sigma times one in x_0, so for the target x_0
the article's three terms have the weight SNR; training replaces SNR by min(1 + SNR, 5) in all three alike.
"""

import numpy as np
from torch import Tensor

from workbench.diffusion.conditions import ABSENT, SLOTS, ConditionTable
from workbench.randomness import generator

COMMITMENT = 0.25


def balancing_terms(predicted: Tensor, balanced: Tensor, commitment: float = COMMITMENT) -> Tensor:
    """Both squared differences of the outputs for y and y', elementwise (B, D), before tau, time share and weight.

    The first has a gradient in ``predicted`` alone, the second, ``commitment`` times it, in ``balanced`` alone.
    """
    return (predicted - balanced.detach()).square() + commitment * (predicted.detach() - balanced).square()


class BalancedConditions:
    """Draws y': a relation class uniformly among those trained on, then one of its conditions uniformly.

    The class of a union is its relation token. A box has none; its class is the name that captions it, and the y' of a
    box is a box. Row and y' may be of the same class, as in the article.
    """

    def __init__(self, seed: int, conditions: ConditionTable, condition_index: np.ndarray):
        self.seed = seed
        trained = np.flatnonzero(np.bincount(condition_index))
        region = conditions.region[trained]
        keys = np.stack([region, _class_token(conditions, trained)], axis=1)
        classes, of_condition = np.unique(keys, axis=0, return_inverse=True)  # sorted by region, then class
        self.members = trained[np.argsort(of_condition.reshape(-1), kind="stable")]
        self.counts = np.bincount(of_condition.reshape(-1))
        self.starts = np.cumsum(self.counts) - self.counts
        self.region = conditions.region
        regions = np.arange(conditions.region.max() + 1)
        self.first_class = np.searchsorted(classes[:, 0], regions)
        self.n_classes = np.searchsorted(classes[:, 0], regions, side="right") - self.first_class

    def draw(
        self, step: int, condition_index: np.ndarray, rows: slice = slice(None), batch_size: int = 0
    ) -> np.ndarray:
        """Condition indices (n,) of y' for the rows of a step, whose own conditions are ``condition_index`` (n,).

        They are ``rows`` of a batch of ``batch_size``; 0 says that they are all of it.
        """
        drawn_for = batch_size or len(condition_index)
        share = generator(self.seed, "balanced conditions", step).random((2, drawn_for))[:, rows]
        region = self.region[condition_index]
        drawn = self.first_class[region] + np.floor(share[0] * self.n_classes[region]).astype(np.int64)
        return self.members[self.starts[drawn] + np.floor(share[1] * self.counts[drawn]).astype(np.int64)]


def _class_token(conditions: ConditionTable, rows: np.ndarray) -> np.ndarray:
    relation, caption = (conditions.token_index[rows, SLOTS.index(slot)] for slot in ("relation", "caption"))
    return np.where(relation == ABSENT, caption, relation)
