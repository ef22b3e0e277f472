"""What every denoiser has: sizes and statistics of its data, condition tokens, a prediction that is x_0 or the noise.

A denoiser is used in three calls, so that sampling computes once what does not change: ``encode`` reads the condition
(once for all steps), ``modulation`` the noise levels (once for all rows), and calling it does the rest::

    memory = network.encode(conditions)             # tensors over the B rows
    levels = network.modulation(half_log_snr)       # NoiseLevels of L levels
    predicted = network(noisy, levels, memory)      # (B, D) in the network's own target
    clean = network.to_clean(predicted, noisy, levels)   # (B, D) x_0, float32

Features are standardised before and restored after. A denoiser of one's own is a subclass with ``forward``, registered
in ``workbench.diffusion.denoiser`` (docs/own-denoiser.md).
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.diffusion.conditions import CAPTION, SLOTS, ConditionBatch
from workbench.ranges import Count, Ranged, ShareBelowOne

# Standard deviations beyond which an x_0 that was computed from a predicted noise is cut.
LARGEST_CLEAN = 10.0


@dataclass(frozen=True)
class NetworkConfig(Ranged):
    """What may be chosen about every denoiser.

    ``target`` is what the network predicts. ``layout`` "tokens" gives each part of the condition a token of
    ``token_width``; "pooled" has one, the caption's embedding beside the hardness vector, as the paper seems to do it
    (section 3.4: "concatenated").
    """

    target: Literal["x0", "epsilon"] = "x0"
    layout: Literal["tokens", "pooled"] = "tokens"
    heads: Count = 8
    token_width: Count = 256
    dropout: ShareBelowOne = 0.1


@dataclass(frozen=True)
class DataSizes:
    """What the data says: the length of a feature and of a text vector, classes, and hardness centroids (0: none)."""

    features: int
    text: int
    objects: int
    relations: int
    centroids: int = 0


@dataclass(frozen=True)
class NoiseLevels:
    """L noise levels, each given by log(alpha / sigma) in ``half_log_snr`` (L,) float32."""

    half_log_snr: Tensor

    def level(self, i: int) -> "NoiseLevels":
        """One noise level alone."""
        return NoiseLevels(self.half_log_snr[i : i + 1])

    def of_rows(self, rows: int) -> Tensor:
        """The log(alpha / sigma) of each of ``rows`` that are L equal groups in the order of the levels, (rows,)."""
        return self.half_log_snr.repeat_interleave(rows // len(self.half_log_snr))

    def clean_from_noise(self, noisy: Tensor, noise: Tensor) -> Tensor:
        """x_0 = (x_t - sigma noise) / alpha, (B, D) float32, for rows as in ``of_rows``.

        alpha and sigma come from the log-SNR as sigmoids, which keep their relative precision where alpha is next to
        nothing (1e-5 for the cosine schedule), and the difference is taken before it is divided.
        """
        doubled = 2.0 * self.of_rows(len(noisy)).float()[:, None]
        alpha, sigma = torch.sigmoid(doubled).sqrt(), torch.sigmoid(-doubled).sqrt()
        return (noisy.float() - sigma * noise.float()) / alpha


class ConditionedNetwork(nn.Module):
    """A denoiser with one encoder and one learned null token for each slot of the condition.

    As buffers it holds what belongs to its data: mean and standard deviation of the features, the text vectors of the
    classes, and the hardness centroids.
    """

    # Rows that are sampled, or measured, in one go; a network with larger activations takes fewer.
    rows_at_once = 2048

    def __init__(self, config: NetworkConfig, sizes: DataSizes):
        super().__init__()
        self.config, self.sizes = config, sizes
        self.mean = nn.Buffer(torch.zeros(sizes.features))
        self.standard_deviation = nn.Buffer(torch.ones(sizes.features))
        self.object_text = nn.Buffer(torch.zeros(sizes.objects, sizes.text))
        self.relation_text = nn.Buffer(torch.zeros(sizes.relations, sizes.text))
        self.centroids = nn.Buffer(torch.zeros(sizes.centroids, sizes.text, dtype=torch.float64))
        dimensions = [sizes.text] * (CAPTION + 1) + [sizes.centroids] * (sizes.centroids > 0)
        if config.layout == "pooled":
            dimensions = [sizes.text + sizes.centroids]
        self.encoders: Any = nn.ModuleList(TokenEncoder(size, config.token_width) for size in dimensions)
        self.null_tokens = nn.Parameter(torch.randn(len(dimensions), config.token_width) * 0.02)

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots of a condition that this network reads, in the order of its tokens."""
        if self.config.layout == "pooled":
            return ("caption",)
        return SLOTS if self.sizes.centroids else SLOTS[:-1]

    def encode(self, conditions: ConditionBatch) -> tuple[Tensor, ...]:
        """What of B conditions does not change from step to step: here their tokens (B, S, width) and regions (B,)."""
        tokens, place = self.distinct_tokens(conditions)
        return F.embedding(place, tokens), conditions.region

    def modulation(self, half_log_snr: Tensor) -> NoiseLevels:
        """What of L noise levels (L,), each given by log(alpha / sigma), does not change from row to row."""
        return NoiseLevels(half_log_snr)

    def to_clean(self, predicted: Tensor, noisy: Tensor, levels: NoiseLevels) -> Tensor:
        """What the network ``predicted`` (B, D) at ``noisy`` as x_0 (B, D) float32, whatever its target is.

        A small error of the noise is a hundredfold error of x_0 where there is next to no signal, from which sampling
        does not recover; so there, and only for the target epsilon, x_0 is cut at 10 standard deviations.
        """
        if self.config.target == "x0":
            return predicted.float()
        return levels.clean_from_noise(noisy, predicted).clamp(-LARGEST_CLEAN, LARGEST_CLEAN)

    def standardise(self, features: Tensor) -> Tensor:
        """(n, D) features to zero mean and unit variance, float32; constant dimensions become 0."""
        deviation = self.standard_deviation
        return (features.float() - self.mean) / torch.where(deviation > 0, deviation, torch.inf)

    def restore(self, standardised: Tensor) -> Tensor:
        """The inverse; constant dimensions get their constant back."""
        return standardised.float() * self.standard_deviation + self.mean

    def hardness(self, captions: Tensor) -> Tensor:
        """Hardness vectors (n, K) float32 of caption embeddings (n, T): L1-normalised distances (section 3.4).

        Distances come from |a|^2 + |c|^2 - 2ac in float64: in float32 the difference of a caption that all but sits on
        a centroid would be off by some hundredths of the entry's standard deviation.
        """
        captions, centroids = captions.double(), self.centroids
        squared = torch.addmm(centroids.square().sum(1)[None], captions, centroids.T, alpha=-2.0)  # (n, K)
        squared += captions.square().sum(1, keepdim=True)
        distances = squared.clamp_(min=0.0).sqrt_()
        total = distances.sum(1, keepdim=True)
        return torch.where(total > 0, distances / total, 1.0 / len(centroids)).float()

    def distinct_tokens(self, conditions: ConditionBatch) -> tuple[Tensor, Tensor]:
        """Encoded tokens (n, width) of what B conditions name, each once, and the token of each slot, (B, S).

        The null token of a slot comes before its values, which is where a place of -1 points.
        """
        tokens, places, first = [], [], 1
        for number, (slot, vectors) in enumerate(zip(self.slots, self._slot_vectors(conditions), strict=True)):
            tokens += [self.null_tokens[number : number + 1], self.encoders[number](vectors)]
            places.append(conditions.place[:, SLOTS.index(slot)] + first)
            first += 1 + len(vectors)
        return torch.cat(tokens), torch.stack(places, dim=1)

    def fit_tokens(self, conditions: ConditionBatch) -> None:
        """Set the standardisation of each slot's vectors from training conditions; it is saved with the weights."""
        for slot, encoder, vectors in zip(self.slots, self.encoders, self._slot_vectors(conditions), strict=True):
            known = vectors[: int(conditions.place[:, SLOTS.index(slot)].max()) + 1]  # without the repeats
            encoder.fit(known, 0 if slot == "hardness" else self.sizes.text)

    def parameter_count(self) -> int:
        """Number of learned numbers."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _slot_vectors(self, conditions: ConditionBatch) -> list[Tensor]:
        """The vectors (n, length of the slot's) of what each slot names."""
        captions = conditions.captions
        hardness = [self.hardness(captions)] if self.sizes.centroids else []
        if self.config.layout == "pooled":
            return [torch.cat([captions, *hardness], dim=1)]
        subjects, relations, objects = conditions.classes
        classes = [self.object_text[subjects], self.relation_text[relations], self.object_text[objects]]
        return [*classes, captions, *hardness]


class TokenEncoder(nn.Module):
    """A slot's vector to a token. Text is centred and scaled as a whole, hardness per dimension.

    Text vectors share a large common part, and raw hardness entries all sit near 1/K (diffusion reference, 0.5).
    """

    def __init__(self, dimension: int, token_width: int):
        super().__init__()
        self.centre = nn.Buffer(torch.zeros(dimension))
        self.scale = nn.Buffer(torch.ones(dimension))
        self.first = nn.Linear(dimension, token_width)
        self.second = nn.Linear(token_width, token_width)

    def forward(self, vectors: Tensor) -> Tensor:
        """(n, dimension) to (n, token width)."""
        hidden = self.first((vectors - self.centre) / self.scale)
        return hidden + self.second(F.silu(hidden))

    def fit(self, vectors: Tensor, text_part: int) -> None:
        """Statistics of distinct training vectors, of which the first ``text_part`` dimensions are text."""
        if len(vectors) < 2:
            return
        deviation, mean = torch.std_mean(vectors.double(), dim=0, correction=0)
        scale = deviation.clone()
        scale[:text_part] = deviation[:text_part].square().mean().sqrt()
        self.centre.copy_(mean)
        self.scale.copy_(torch.where(scale > 1e-12, scale, 1.0))
