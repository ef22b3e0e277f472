"""The denoiser: a residual MLP trunk whose single query attends to a handful of condition tokens.

Feature dimensions have no neighbours, so nothing is convolved (design, decision "Network"; diffusion reference, F).
Three things keep sampling cheap: the modulation depends on time alone and is computed once for all rows, keys and
values depend on the condition alone and are computed once for all steps, and repeated conditions are encoded once.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.diffusion.conditions import REGIONS, SLOTS
from workbench.diffusion.token_bank import LAYOUTS, TokenBank, TokenBatch
from workbench.errors import WorkbenchError

TIME_FREQUENCIES = 64


@dataclass(frozen=True)
class DenoiserConfig:
    """Sizes of a denoiser; ``n_centres`` 0 is hardness off, ``expansion`` the hidden width of SwiGLU over ``width``.

    ``skip`` adds a path from each noisy dimension straight to its x_0, weighted by the noise level. It lowers the
    denoising loss of a narrow trunk and restores the features' full spread, but spreads too wide in the directions of
    least variance, which in a first comparison on CLIP features cost a classifier trained on the samples two points.
    """

    feature_dimension: int
    text_dimension: int
    n_centres: int = 0
    layout: str = "tokens"
    width: int = 512
    blocks: int = 4
    heads: int = 8
    token_width: int = 256
    expansion: float = 2.0
    dropout: float = 0.0
    skip: bool = False

    def __post_init__(self):
        if self.layout not in LAYOUTS:
            raise WorkbenchError(f"condition layout {self.layout!r} is not known; expected one of {LAYOUTS}.")
        if self.width % self.heads or min(self.width, self.blocks, self.heads, self.token_width) < 1:
            raise WorkbenchError(
                f"a denoiser {self.width} wide with {self.heads} heads and {self.blocks} blocks cannot be built; "
                "width must be a multiple of heads, and blocks at least 1."
            )

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


class Modulation:
    """Shifts, scales and gates at L noise levels: ``blocks`` (n_blocks, 6, L, 1, W), ``last`` (2, L, 1, W).

    ``skip`` (L, 1, D) is how much of each noisy dimension goes straight to x_0, or None.
    """

    def __init__(self, blocks: Tensor, last: Tensor, skip: Tensor | None):
        self.blocks, self.last, self.skip = blocks, last, skip

    def level(self, i: int) -> "Modulation":
        """The modulation of one noise level alone."""
        skip = None if self.skip is None else self.skip[i : i + 1]
        return Modulation(self.blocks[:, :, i : i + 1], self.last[:, i : i + 1], skip)


class Denoiser(nn.Module):
    """Predicts standardised x_0 (B, D) from noisy x_t, the noise level and a condition."""

    def __init__(self, config: DenoiserConfig):
        super().__init__()
        self.config = config
        width, token_width = config.width, config.token_width
        self.enter = nn.Linear(config.feature_dimension, width)
        self.region = nn.Embedding(len(REGIONS), width)
        self.tokens = nn.ModuleList(TokenEncoder(dimension, token_width) for dimension in config.slot_dimensions)
        self.null_tokens = nn.Parameter(torch.randn(len(config.slot_dimensions), token_width) * 0.02)
        self.time = nn.Sequential(nn.Linear(2 * TIME_FREQUENCIES, width), nn.SiLU())
        self.shared_modulation = nn.Linear(width, 6 * width)
        self.block_modulation = nn.Parameter(torch.zeros(config.blocks, 6, width))
        self.last_modulation = nn.Parameter(torch.zeros(2, width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.leave = nn.Linear(width, config.feature_dimension)
        self.skip = nn.Linear(width, config.feature_dimension) if config.skip else None
        # adaLN-zero: every block starts as the identity, and the output as the mean feature.
        for layer in filter(None, (self.shared_modulation, self.leave, self.skip)):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.region.weight, std=0.02)

    def modulation(self, half_log_snr: Tensor) -> Modulation:
        """Modulation of L noise levels (L,), each given by log(alpha / sigma)."""
        time = self.time(_time_features(half_log_snr))
        shared = self.shared_modulation(time).float().view(-1, 6, self.config.width).transpose(0, 1)  # (6, L, W)
        blocks = shared + self.block_modulation[:, :, None]  # (n_blocks, 6, L, W)
        last = shared[:2] + self.last_modulation[:, None]  # (2, L, W)
        skip = None if self.skip is None else self.skip(time).float().unsqueeze(-2)  # (L, 1, D)
        return Modulation(blocks.unsqueeze(-2), last.unsqueeze(-2), skip)

    def encode(self, batch: TokenBatch) -> list[Tensor]:
        """Keys and values of a batch of conditions for every block, each (B, S, 2W)."""
        parts = [F.embedding(batch.nulls, self.null_tokens)]
        parts += [encoder(vectors) for encoder, vectors in zip(self.tokens, batch.vectors, strict=True)]
        tokens = torch.cat(parts)  # (distinct, token width)
        return [F.embedding(batch.place, block.key_value(tokens)) for block in self.blocks]

    def forward(self, noisy: Tensor, modulation: Modulation, memory: list[Tensor], region: Tensor) -> Tensor:
        """x_0 (B, D) for ``noisy`` (B, D), whose rows are B/L equal groups in the order of the L noise levels."""
        x = self.enter(noisy) + self.region(region)  # (B, W)
        for block, levels, key_value in zip(self.blocks, modulation.blocks, memory, strict=True):
            x = block(x, levels, key_value)
        clean = self.leave(_modulated(x, *modulation.last))
        return clean if modulation.skip is None else _gated(clean, modulation.skip, noisy)

    def fit_token_statistics(self, bank: TokenBank) -> None:
        """Set the standardisation of each slot's vectors from training conditions; it is saved with the weights."""
        for slot, encoder in enumerate(self.tokens):
            encoder.fit(torch.from_numpy(bank.vectors[slot]), self._text_part(slot))

    def _text_part(self, slot: int) -> int:
        return 0 if slot >= len(SLOTS) else self.config.text_dimension

    def parameter_count(self) -> int:
        """Number of learned numbers."""
        return sum(parameter.numel() for parameter in self.parameters())


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

    def fit(self, vectors: Tensor, text_part: int) -> None:
        """Statistics of distinct training vectors, of which the first ``text_part`` dimensions are text."""
        if len(vectors) < 2:
            return
        deviation, mean = torch.std_mean(vectors.double(), dim=0, correction=0)
        scale = deviation.clone()
        scale[:text_part] = deviation[:text_part].square().mean().sqrt()
        self.centre.copy_(mean)
        self.scale.copy_(torch.where(scale > 1e-12, scale, 1.0))


class Block(nn.Module):
    """Cross-attention to the condition tokens, then SwiGLU, each normalised, modulated and gated by time."""

    def __init__(self, config: DenoiserConfig):
        super().__init__()
        width, hidden = config.width, int(config.expansion * config.width)
        self.heads, self.dropout = config.heads, config.dropout
        # Over one key the softmax is 1 whatever the query, so a pooled condition needs neither query nor key.
        self.query = None if config.layout == "pooled" else nn.Linear(width, width)
        self.key_value = nn.Linear(config.token_width, width if self.query is None else 2 * width)
        self.attended = nn.Linear(width, width)
        self.gate_and_value = nn.Linear(width, 2 * hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor, levels: Tensor, key_value: Tensor) -> Tensor:
        """``x`` (B, W), ``levels`` (6, L, 1, W), ``key_value`` (B, S, 2W) or, pooled, (B, 1, W)."""
        shift_a, scale_a, gate_a, shift_b, scale_b, gate_b = levels
        x = _gated(x, gate_a, self.attended(self._attend(_modulated(x, shift_a, scale_a), key_value)))
        gate, value = self.gate_and_value(_modulated(x, shift_b, scale_b)).chunk(2, dim=-1)
        hidden = F.dropout(F.silu(gate) * value, self.dropout, self.training)
        return _gated(x, gate_b, self.down(hidden))

    def _attend(self, x: Tensor, key_value: Tensor) -> Tensor:
        if self.query is None:
            return key_value[:, 0]
        rows, slots, _ = key_value.shape
        query = self.query(x).view(rows, 1, self.heads, -1).transpose(1, 2)  # (B, heads, 1, W / heads)
        pairs = key_value.view(rows, slots, 2, self.heads, -1).permute(2, 0, 3, 1, 4)  # (2, B, heads, S, W / heads)
        return F.scaled_dot_product_attention(query, pairs[0], pairs[1]).reshape(rows, -1)


def _time_features(half_log_snr: Tensor) -> Tensor:
    # Frequencies from a slow wave over the whole range of log-SNR to one that tells neighbouring timesteps apart.
    frequencies = torch.logspace(-1.5, 1.0, TIME_FREQUENCIES, device=half_log_snr.device)
    angles = half_log_snr[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    grouped = F.rms_norm(x, x.shape[-1:]).view(shift.shape[0], -1, x.shape[-1])  # (L, B / L, W)
    return (grouped * (1.0 + scale) + shift).view_as(x)


def _gated(x: Tensor, gate: Tensor, update: Tensor) -> Tensor:
    return x + (update.view(gate.shape[0], -1, x.shape[-1]) * gate).view_as(x)
