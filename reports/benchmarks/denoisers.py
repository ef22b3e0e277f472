"""How many samples a second one evaluation of each denoiser makes at full size, beside the machine's matrix product.

4,096 dimensions, 768 of text, the same precision and threads. Every peer is measured at the batch that suits it, with
what makes it cheap: text in one vector, keys and values of conditions computed beforehand where they can be.
"""

import importlib.util
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.transformers.prior_transformer import PriorTransformer
from torch import Tensor, nn

from reports.benchmarks.running import timed
from tests.diffusion.cases import IDENTITY, condition_tokens
from workbench.devices import network_autocast, network_precision
from workbench.diffusion.checkpoint import DenoiserCheckpoint
from workbench.diffusion.conditioned_network import ConditionedNetwork, DataSizes, NetworkConfig, NoiseLevels
from workbench.diffusion.conditions import ConditionBatch
from workbench.diffusion.config import ConditionDropout, SamplingConfig
from workbench.diffusion.denoiser import MLPConfig, MLPDenoiser
from workbench.diffusion.sample import sample_features
from workbench.diffusion.schedule import NoiseSchedule
from workbench.diffusion.unet_denoiser import UNetConfig, UNetDenoiser
from workbench.ranges import Count

SIZES = DataSizes(features=4096, text=768, objects=5, relations=4)
_CPU, _TURNS, _ROWS = torch.device("cpu"), 3, 512
_BATCHES = {"prior_transformer": (64, 256), "unet_2d": (1, 4), "unet_1d": (1, 4)}  # the better of two is taken
Prepared = Callable[[int], Callable[[], Any]]  # of a number of rows: one evaluation of them


@dataclass(frozen=True)
class PlainConfig(NetworkConfig):
    """Sizes of the plain residual MLP."""

    width: Count = 1536
    blocks: Count = 7


class PlainMLP(ConditionedNetwork):
    """Noisy features, time and condition are added once; then blocks of two layers, four times as wide between them."""

    config: PlainConfig

    def __init__(self, config: PlainConfig, sizes: DataSizes):
        super().__init__(config, sizes)
        width = config.width
        self.enter, self.leave = nn.Linear(sizes.features, width), nn.Linear(width, sizes.features)
        self.time = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width))
        self.condition = nn.Linear(len(self.slots) * config.token_width, width)
        self.blocks: Any = nn.ModuleList(
            nn.Sequential(
                nn.RMSNorm(width, elementwise_affine=False),
                nn.Linear(width, 4 * width),
                nn.SiLU(),
                nn.Linear(4 * width, width),
            )
            for _ in range(config.blocks)
        )

    def encode(self, conditions: ConditionBatch) -> tuple[Tensor, ...]:
        """What is added for the condition (B, W)."""
        tokens, place = self.distinct_tokens(conditions)
        return (self.condition(F.embedding(place, tokens).flatten(1)),)

    def forward(self, noisy: Tensor, levels: NoiseLevels, memory: tuple[Tensor, ...]) -> Tensor:
        """The target (B, D)."""
        time = self.time(levels.half_log_snr[:, None])
        x = self.enter(noisy) + memory[0] + time.repeat_interleave(len(noisy) // len(time), dim=0)
        for block in self.blocks:
            x = x + block(x)
        return self.leave(x)


def benchmark_denoisers() -> dict[str, Any]:
    """Median samples a second of one evaluation, in turn; and of our whole sampling, noise and conditions included.

    A ratio says how many of a peer's samples ours makes meanwhile. The matrix product is of our layers' shapes alone.
    """
    network = MLPDenoiser(MLPConfig(width=1536, blocks=6, heads=12), SIZES).eval()
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Linear)}
    shared = ("time", "shared_modulation", "encoders", "key_value")  # once a level or a condition, not once a row
    shapes = [layer.weight.shape for name, layer in layers.items() if not any(part in name for part in shared)]
    peers = {
        "plain_mlp": PlainMLP(PlainConfig(), SIZES).eval(),
        "prior_transformer": PriorTransformer(
            num_attention_heads=16, attention_head_dim=64, num_layers=11, embedding_dim=SIZES.features,
            embedding_proj_dim=SIZES.text, num_embeddings=0, encoder_hid_proj_type=None,
        ).eval(),
        "unet_2d": UNetDenoiser(UNetConfig(channels=(64, 128, 192, 256)), SIZES).eval(),
    }  # fmt: skip
    found: dict[str, Any] = {"threads": torch.get_num_threads(), "our_parameters": network.parameter_count()}
    if importlib.util.find_spec("denoising_diffusion_pytorch"):
        peers["unet_1d"] = importlib.import_module("denoising_diffusion_pytorch").Unet1D(88, channels=1).eval()
    else:
        found["unet_1d"] = "not measured: denoising-diffusion-pytorch is not installed"
    found |= {f"{name}_parameters": sum(p.numel() for p in peer.parameters()) for name, peer in peers.items()}
    checkpoint = DenoiserCheckpoint(network, "mlp", NoiseSchedule(), ConditionDropout(), IDENTITY)
    for precision in dict.fromkeys([network_precision(_CPU), "float32"]):
        with torch.no_grad(), network_autocast(_CPU, precision):
            prepared = {"our": _ours(network), "matrix_product": _products(shapes, getattr(torch, precision))}
            prepared |= {name: _ours(peer) if isinstance(peer, ConditionedNetwork) else _theirs(peer)
                         for name, peer in peers.items()}  # fmt: skip
            rates = _rates(prepared)
        index, sampling = torch.arange(_ROWS).numpy(), SamplingConfig(precision=precision)
        taken, _ = timed(sample_features, checkpoint, condition_tokens(_ROWS, SIZES.text), index, sampling)
        found[f"our_whole_sampling_{precision}_samples_per_second"] = len(index) / taken
        found |= {f"{name}_{precision}_samples_per_second": rate for name, rate in rates.items()}
        found[f"share_of_matrix_product_{precision}"] = rates["our"] / rates.pop("matrix_product")
        ours = rates.pop("our")
        found |= {f"{name}_{precision}_ratio": ours / rate for name, rate in rates.items()}
    return found


def _rates(prepared: dict[str, Prepared]) -> dict[str, float]:
    """Samples a second at the better of two batches, medians of several turns."""
    best, seconds = {}, {name: [] for name in prepared}
    for name, prepare in prepared.items():
        tried = {rows: prepare(rows) for rows in _BATCHES.get(name, (_ROWS // 4, _ROWS))}
        next(iter(tried.values()))()  # the first call makes more than its product
        rows = min(tried, key=lambda rows, tried=tried: timed(tried[rows])[0] / rows)
        best[name] = rows, tried[rows]
    for _ in range(_TURNS):
        for name, (rows, call) in best.items():
            seconds[name].append(timed(call)[0] / rows)
    return {name: 1 / statistics.median(taken) for name, taken in seconds.items()}


def _ours(network: ConditionedNetwork) -> Prepared:
    def prepare(rows: int) -> Callable[[], Any]:
        memory = network.encode(condition_tokens(rows, SIZES.text).batch(torch.arange(rows).numpy()))
        noisy, levels = torch.randn(rows, SIZES.features), network.modulation(torch.zeros(1))
        return lambda: network(noisy, levels, memory)

    return prepare


def _theirs(network: Any) -> Prepared:
    def prepare(rows: int) -> Callable[[], Any]:
        noisy, time = torch.randn(rows, SIZES.features), torch.full((rows,), 500)
        if isinstance(network, PriorTransformer):
            text = torch.randn(rows, SIZES.text)
            return lambda: network(noisy, time, text)
        return lambda: network(noisy[:, None], time)

    return prepare


def _products(shapes: list[torch.Size], dtype: torch.dtype) -> Prepared:
    weights = [torch.randn(shape, dtype=dtype) for shape in shapes]

    def prepare(rows: int) -> Callable[[], Any]:
        inputs = {width: torch.randn(rows, width, dtype=dtype) for _, width in shapes}
        return lambda: [F.linear(inputs[weight.shape[1]], weight) for weight in weights]

    return prepare
