"""The denoisers by name: for each the class of its configuration and the class of its network.

One of your own is registered from a notebook cell (docs/own-denoiser.md)::

    DENOISERS.register("mine")((MyConfig, MyDenoiser))
"""

from typing import Any

from workbench.diffusion.conditioned_network import ConditionedNetwork, DataSizes, NetworkConfig
from workbench.diffusion.denoiser import MLPConfig, MLPDenoiser
from workbench.diffusion.unet_denoiser import UNetConfig, UNetDenoiser
from workbench.errors import WorkbenchError
from workbench.registry import Registry

DenoiserClasses = tuple[type[NetworkConfig], type[ConditionedNetwork]]

DENOISERS: Registry[DenoiserClasses] = Registry(
    "denoiser", {"mlp": (MLPConfig, MLPDenoiser), "unet": (UNetConfig, UNetDenoiser)}
)


def denoiser_classes(choice: Any) -> DenoiserClasses:
    """The classes behind a name, an import path "module:name", or a pair of classes itself."""
    found = DENOISERS.resolve(choice)
    if not (isinstance(found, tuple) and len(found) == 2 and all(isinstance(part, type) for part in found)):
        raise WorkbenchError(
            f"denoiser {choice!r}: expected a pair (configuration class, network class), found {found!r}. "
            "docs/own-denoiser.md has one of both."
        )
    return found


def build_denoiser(choice: Any, config: NetworkConfig, sizes: DataSizes) -> ConditionedNetwork:
    """An untrained denoiser, its weights drawn from torch's global generator."""
    return denoiser_classes(choice)[1](config, sizes)
