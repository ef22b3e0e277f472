"""The denoiser: a residual MLP trunk whose single query attends to a handful of condition tokens.

Feature dimensions have no neighbours, so nothing is convolved (design, decision "Network"; diffusion reference, F).
Three things keep sampling cheap: the modulation depends on time alone and is computed once for all rows, keys and
values depend on the condition alone and are computed once for all steps, and repeated conditions are encoded once.

``DENOISERS`` has all by name: for each the class of its configuration and the class of its network. One of your own is
registered from a notebook cell by ``DENOISERS.register("mine")((MyConfig, MyDenoiser))`` (docs/own-denoiser.md).
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workbench.devices import dropped_out
from workbench.diffusion.conditioned_network import ConditionedNetwork, DataSizes, NetworkConfig, NoiseLevels
from workbench.diffusion.conditions import REGIONS, ConditionBatch
from workbench.diffusion.unet_denoiser import UNetConfig, UNetDenoiser
from workbench.errors import WorkbenchError
from workbench.ranges import Count, Factor
from workbench.registry import Registry

TIME_FREQUENCIES = 64


@dataclass(frozen=True)
class MLPConfig(NetworkConfig):
    """Sizes of the MLP denoiser; ``expansion`` is the hidden width of SwiGLU over ``width``."""

    width: Count = 512
    blocks: Count = 4
    expansion: Factor = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise WorkbenchError(
                f"width {self.width} is not a multiple of heads {self.heads}. Choose a width that the heads can share."
            )


@dataclass(frozen=True)
class Modulation(NoiseLevels):
    """Shifts, scales and gates at L noise levels: ``blocks`` (n_blocks, 6, L, 1, W), ``last`` (2, L, 1, W)."""

    blocks: Tensor
    last: Tensor

    def level(self, i: int) -> "Modulation":
        """The modulation of one noise level alone."""
        one = slice(i, i + 1)
        return Modulation(self.half_log_snr[one], self.blocks[:, :, one], self.last[:, one])


class MLPDenoiser(ConditionedNetwork):
    """Predicts standardised x_0, or the noise, (B, D) from noisy x_t, the noise level and a condition."""

    config: MLPConfig

    def __init__(self, config: MLPConfig, sizes: DataSizes):
        super().__init__(config, sizes)
        width = config.width
        self.enter = nn.Linear(sizes.features, width)
        self.region = nn.Embedding(len(REGIONS), width)
        nn.init.normal_(self.region.weight, std=0.02)
        self.time = nn.Sequential(nn.Linear(2 * TIME_FREQUENCIES, width), nn.SiLU())
        self.shared_modulation = nn.Linear(width, 6 * width)
        self.block_modulation = nn.Parameter(torch.zeros(config.blocks, 6, width))
        self.last_modulation = nn.Parameter(torch.zeros(2, width))
        self.blocks: Any = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.leave = nn.Linear(width, sizes.features)
        # adaLN-zero: every block starts as the identity, and the output as the mean feature.
        for layer in (self.shared_modulation, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def modulation(self, half_log_snr: Tensor) -> Modulation:
        """Modulation of L noise levels (L,), each given by log(alpha / sigma)."""
        time = self.time(_time_features(half_log_snr))
        shared = self.shared_modulation(time).float().view(-1, 6, self.config.width).transpose(0, 1)  # (6, L, W)
        blocks = shared + self.block_modulation[:, :, None]  # (n_blocks, 6, L, W)
        last = shared[:2] + self.last_modulation[:, None]  # (2, L, W)
        return Modulation(half_log_snr, blocks.unsqueeze(-2), last.unsqueeze(-2))

    def encode(self, conditions: ConditionBatch) -> tuple[Tensor, ...]:
        """The region's vector (B, W), then keys and values of the conditions for every block, each (B, S, 2W)."""
        tokens, place = self.distinct_tokens(conditions)
        return self.region(conditions.region), *(F.embedding(place, block.key_value(tokens)) for block in self.blocks)

    def forward(self, noisy: Tensor, levels: Modulation, memory: tuple[Tensor, ...]) -> Tensor:
        """The target (B, D) for ``noisy`` (B, D), whose rows are L equal groups in the order of the L noise levels."""
        region, *key_values = memory
        x = self.enter(noisy) + region  # (B, W)
        for block, modulation, key_value in zip(self.blocks, levels.blocks, key_values, strict=True):
            x = block(x, modulation, key_value)
        return self.leave(_modulated(x, *levels.last))


class Block(nn.Module):
    """Cross-attention to the condition tokens, then SwiGLU, each normalised, modulated and gated by time."""

    def __init__(self, config: MLPConfig):
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
        hidden = dropped_out(F.silu(gate) * value, self.dropout, self.training)
        return _gated(x, gate_b, self.down(hidden))

    def _attend(self, x: Tensor, key_value: Tensor) -> Tensor:
        if self.query is None:
            return key_value[:, 0]
        rows = len(x)
        query = self.query(x).view(rows, 1, self.heads, -1).transpose(1, 2)  # (B, heads, 1, W / heads)
        # Chunks, not elements of a stack: their gradients are joined, not each filled up with zeros and added.
        key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in key_value.chunk(2, dim=-1))
        return F.scaled_dot_product_attention(query, key, value).reshape(rows, -1)


DenoiserClasses = tuple[type[NetworkConfig], type[ConditionedNetwork]]

DENOISERS = Registry[DenoiserClasses]("denoiser", {"mlp": (MLPConfig, MLPDenoiser), "unet": (UNetConfig, UNetDenoiser)})


def denoiser_classes(choice: Any) -> DenoiserClasses:
    """The classes behind a name, an import path "module:name", a pair of such paths, or a pair of classes itself."""
    parts = choice.split() if isinstance(choice, str) and ":" in choice else choice
    pair = isinstance(parts, list | tuple) and len(parts) == 2
    found = tuple(map(DENOISERS.resolve, parts)) if pair else DENOISERS.resolve(choice)
    if not (isinstance(found, tuple) and len(found) == 2 and all(isinstance(part, type) for part in found)):
        what = f"denoiser {choice!r}: expected a pair (configuration class, network class), found {found!r}"
        raise WorkbenchError(f"{what}. docs/own-denoiser.md has one of both.")
    return found


def denoiser_name(choice: Any) -> str:
    """The name by which a stored denoiser finds its classes again: as registered, else "module:Config module:Network".

    WorkbenchError for a pair of classes that can be found under neither.
    """
    if isinstance(choice, str):
        return choice
    pair = denoiser_classes(choice)
    paths = " ".join(f"{part.__module__}:{part.__qualname__}" for part in pair)
    name = next((name for name, classes in DENOISERS.items() if classes == pair), paths)
    try:
        denoiser_classes(name)
    except WorkbenchError as error:
        remedy = "Define both at the top of a module or cell, or register them: DENOISERS.register('mine')(PAIR)."
        raise WorkbenchError(f"denoiser {choice!r}: a checkpoint must name it, but {error} {remedy}") from error
    return name


def _time_features(half_log_snr: Tensor) -> Tensor:
    # Frequencies from a slow wave over the whole range of log-SNR to one that tells neighbouring timesteps apart.
    frequencies = torch.logspace(-1.5, 1.0, TIME_FREQUENCIES, device=half_log_snr.device)
    angles = half_log_snr[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    grouped = F.rms_norm(x, x.shape[-1:]).view(shift.shape[0], -1, x.shape[-1])  # (L, B / L, W)
    return torch.addcmul(shift, grouped, 1.0 + scale).view_as(x)


def _gated(x: Tensor, gate: Tensor, update: Tensor) -> Tensor:
    grouped = (gate.shape[0], -1, x.shape[-1])
    return torch.addcmul(x.view(grouped), update.view(grouped), gate).view_as(x)
