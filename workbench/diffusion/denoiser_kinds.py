"""The kinds of denoiser by name, how one is built from its sizes, and how it takes over saved weights."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from workbench.diffusion.conditioned_network import ConditionedNetwork, NetworkConfig
from workbench.diffusion.denoiser import Denoiser, DenoiserConfig
from workbench.diffusion.unet_denoiser import UNetConfig, UNetDenoiser
from workbench.errors import WorkbenchError

_CONFIGS = {config.kind: config for config in (DenoiserConfig, UNetConfig)}
_NETWORKS = {DenoiserConfig.kind: Denoiser, UNetConfig.kind: UNetDenoiser}
DENOISERS = tuple(_NETWORKS)


def denoiser_config(kind: str, **sizes) -> NetworkConfig:
    """The sizes of a denoiser of a kind in ``DENOISERS``; WorkbenchError for another kind or unfitting sizes."""
    if kind not in _CONFIGS:
        raise WorkbenchError(f"denoiser {kind!r} is not known; expected one of {', '.join(DENOISERS)}.")
    return _CONFIGS[kind](**sizes)


def build_denoiser(config: NetworkConfig) -> ConditionedNetwork:
    """An untrained denoiser, its weights drawn from torch's global generator."""
    return _NETWORKS[config.kind](config)


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Put ``weights`` into ``network``; WorkbenchError that lists every name that is missing, unknown or misshapen."""
    own = network.state_dict()
    problems = {
        "missing": sorted(own.keys() - weights.keys()),
        "not known": sorted(weights.keys() - own.keys()),
        "of another shape": [
            f"{name} {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
            for name in sorted(own.keys() & weights.keys())
            if weights[name].shape != own[name].shape
        ],
    }
    found = [f"{len(names)} {problem}: {', '.join(names)}" for problem, names in problems.items() if names]
    if found:
        raise WorkbenchError(
            f"{path}: the weights do not fit the configuration beside them. Of {len(own)} expected, {'; '.join(found)}."
            " Train the denoiser again."
        )
    network.load_state_dict(weights)
