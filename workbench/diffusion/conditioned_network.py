"""What every denoiser has: sizes, an encoder for each condition token, and a prediction that is x_0 or the noise.

A denoiser is used in three calls, so that sampling computes once what does not change: ``encode`` reads the condition
(once for all steps), ``modulation`` the noise levels (once for all rows), and calling it does the rest::

    memory = model.encode(token_batch)                 # tensors over the B rows
    levels = model.modulation(half_log_snr)            # NoiseLevels of L levels
    predicted = model(noisy, levels, memory, region)   # (B, D) in the network's own target
    clean = model.to_clean(predicted, noisy, levels)   # (B, D) x_0, float32
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.diffusion.conditions import SLOTS
from workbench.diffusion.token_bank import LAYOUTS, TokenBank, TokenBatch
from workbench.diffusion.vector_rows import Rows, moments
from workbench.errors import WorkbenchError

TARGETS = ("x0", "epsilon")
# Standard deviations beyond which an x_0 that was computed from a predicted noise is cut.
LARGEST_CLEAN = 10.0


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes that every denoiser has; ``n_centres`` 0 is hardness off, ``target`` what the network predicts.

    ``feature_dimension`` D, ``text_dimension`` T, ``token_width`` of the encoded condition tokens. Raises
    WorkbenchError for a layout or target that is not known.
    """

    kind: ClassVar[str]

    feature_dimension: int
    text_dimension: int
    n_centres: int = 0
    layout: str = "tokens"
    target: str = "x0"
    heads: int = 8
    token_width: int = 256
    dropout: float = 0.0

    def __post_init__(self):
        if self.layout not in LAYOUTS:
            raise WorkbenchError(f"condition layout {self.layout!r} is not known; expected one of {LAYOUTS}.")
        if self.target not in TARGETS:
            raise WorkbenchError(f"target {self.target!r} is not known; expected one of {', '.join(TARGETS)}.")

    @property
    def hardness(self) -> bool:
        """Whether the hardness vector is among the conditions."""
        return self.n_centres > 0

    @property
    def slot_dimensions(self) -> list[int]:
        """Length of the vector in each token slot."""
        if self.layout == "pooled":
            return [self.text_dimension + self.n_centres]
        return [self.text_dimension] * len(SLOTS) + [self.n_centres] * self.hardness


class NoiseLevels:
    """L noise levels, each given by log(alpha / sigma) in ``half_log_snr`` (L,) float32."""

    def __init__(self, half_log_snr: Tensor):
        self.half_log_snr = half_log_snr

    def level(self, i: int) -> "NoiseLevels":
        """One noise level alone."""
        return NoiseLevels(self.half_log_snr[i : i + 1])

    def clean_from_noise(self, noisy: Tensor, noise: Tensor) -> Tensor:
        """x_0 = (x_t - sigma noise) / alpha, (B, D) float32, for L equal groups of rows in the order of the levels.

        alpha and sigma come from the log-SNR as sigmoids, which keep their relative precision where alpha is next to
        nothing (1e-5 for the cosine schedule), and the difference is taken before it is divided.
        """
        doubled = 2.0 * self.half_log_snr.float()[:, None, None]
        alpha, sigma = torch.sigmoid(doubled).sqrt(), torch.sigmoid(-doubled).sqrt()
        grouped = (len(self.half_log_snr), -1, noisy.shape[1])
        return ((noisy.float().view(grouped) - sigma * noise.float().view(grouped)) / alpha).view_as(noisy)


class ConditionedNetwork(nn.Module):
    """A denoiser with one encoder and one learned null token for each token slot of the condition."""

    # Rows that are sampled, or measured, in one go; a network with larger activations takes fewer.
    rows_at_once = 2048

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config

    def to_clean(self, predicted: Tensor, noisy: Tensor, levels: NoiseLevels) -> Tensor:
        """What the network ``predicted`` (B, D) at ``noisy`` as x_0 (B, D) float32, whatever its target is.

        A small error of the noise is a hundredfold error of x_0 where there is next to no signal, from which sampling
        does not recover; so there, and only for the target epsilon, x_0 is cut at 10 standard deviations.
        """
        if self.config.target == "x0":
            return predicted.float()
        return levels.clean_from_noise(noisy, predicted).clamp(-LARGEST_CLEAN, LARGEST_CLEAN)

    def fit_token_statistics(self, bank: TokenBank) -> None:
        """Set the standardisation of each slot's vectors from training conditions; it is saved with the weights.

        Of more than 50,000 distinct vectors, evenly spaced ones speak for all.
        """
        for slot, encoder in enumerate(self.tokens):
            encoder.fit(bank.vectors[slot], self._text_part(slot))

    def parameter_count(self) -> int:
        """Number of learned numbers."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _add_token_encoders(self) -> None:
        config = self.config
        self.tokens = nn.ModuleList(TokenEncoder(size, config.token_width) for size in config.slot_dimensions)
        self.null_tokens = nn.Parameter(torch.randn(len(config.slot_dimensions), config.token_width) * 0.02)

    def _distinct_tokens(self, batch: TokenBatch) -> Tensor:
        parts = [F.embedding(batch.nulls, self.null_tokens)]
        parts += [encoder(vectors) for encoder, vectors in zip(self.tokens, batch.vectors, strict=True)]
        return torch.cat(parts)  # (distinct, token width)

    def _text_part(self, slot: int) -> int:
        return 0 if slot >= len(SLOTS) else self.config.text_dimension


class TokenEncoder(nn.Module):
    """A slot's vector to a token. Text is centred and scaled as a whole, hardness per dimension.

    Text vectors share a large common part, and raw hardness entries all sit near 1/K (diffusion reference, 0.5).
    """

    def __init__(self, dimension: int, token_width: int):
        super().__init__()
        self.register_buffer("centre", torch.zeros(dimension))
        self.register_buffer("scale", torch.ones(dimension))
        self.first = nn.Linear(dimension, token_width)
        self.second = nn.Linear(token_width, token_width)

    def forward(self, vectors: Tensor) -> Tensor:
        """(n, dimension) to (n, token width)."""
        hidden = self.first((vectors - self.centre) / self.scale)
        return hidden + self.second(F.silu(hidden))

    def fit(self, vectors: Rows, text_part: int) -> None:
        """Statistics of distinct training vectors, of which the first ``text_part`` dimensions are text."""
        if len(vectors) < 2:
            return
        mean, deviation = map(torch.from_numpy, moments(vectors))
        scale = deviation.clone()
        scale[:text_part] = deviation[:text_part].square().mean().sqrt()
        self.centre.copy_(mean)
        self.scale.copy_(torch.where(scale > 1e-12, scale, 1.0))
