"""What a notebook may choose about the denoiser and its training."""

import math
from dataclasses import dataclass

from workbench.diffusion.conditioned_network import NetworkConfig
from workbench.diffusion.denoiser_kinds import denoiser_config
from workbench.diffusion.training_batches import ConditionDropout
from workbench.errors import WorkbenchError


@dataclass(frozen=True)
class DiffusionConfig:
    """How to build and train a denoiser; the defaults suit two CPU cores and some ten thousand rows.

    A GPU preset is ``DiffusionConfig(width=1536, blocks=6, heads=12, batch_size=1024, steps=100_000,
    learning_rate=2e-4, ema_decay=0.9999)`` (diffusion reference, F).

    ``denoiser`` is "mlp" (``width``, ``blocks``, ``expansion``, ``skip``) or "unet" (``unet_channels`` of each level,
    ``unet_layers`` in each; diffusers' ``UNet2DConditionModel``). ``target`` "auto" is "x0" for the one and "epsilon"
    for the other. ``class_balancing`` is tau of ``workbench.diffusion.class_balancing``, 0 is off. Preset "paper" is
    ``DiffusionConfig(denoiser="unet", layout="pooled", schedule="scaled_linear")``. Raises WorkbenchError for values
    that are not known.

    ``batch_size`` is the rows of one optimiser step in all processes together, of which each computes its share in
    ``accumulation`` micro-batches one after the other; gradients are clipped after they are summed. So neither the
    number of processes nor ``accumulation`` changes the result, but for the order of floating-point sums, and
    ``learning_rate`` stays what it is. Where ``batch_size`` itself changes, AdamW wants the learning rate multiplied by
    the square root of the change (4 times the rows, twice the rate); the linear rule is that of plain SGD.
    """

    denoiser: str = "mlp"
    target: str = "auto"
    unet_channels: tuple[int, ...] = (32, 64, 64)
    unet_layers: int = 2
    width: int = 512
    blocks: int = 4
    heads: int = 8
    token_width: int = 256
    expansion: float = 2.0
    layout: str = "tokens"
    dropout: float = 0.1
    skip: bool = False
    schedule: str = "squaredcos_cap_v2"
    steps: int = 2000
    batch_size: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warm_up: float = 0.05
    decay: str = "cosine"
    gradient_clip: float = 1.0
    ema_decay: float = 0.999
    drop_everything: float = 0.10
    drop_hardness: float = 0.10
    drop_token: float = 0.05
    class_balancing: float = 0.0
    precision: str = "auto"
    accumulation: int = 1

    def __post_init__(self):
        object.__setattr__(self, "unet_channels", tuple(self.unet_channels))
        if not (math.isfinite(self.class_balancing) and self.class_balancing >= 0.0):
            raise WorkbenchError(
                f"class_balancing is {self.class_balancing}; expected 0 (off) or more, about 1 is usual."
            )
        self.network_config(feature_dimension=1, text_dimension=1)  # names are refused here, before any file is read

    def network_config(self, *, feature_dimension: int, text_dimension: int, n_centres: int = 0) -> NetworkConfig:
        """The sizes of the chosen denoiser for features (N, D), text vectors (n, T) and hardness vectors (n, K)."""
        own = {
            "mlp": {name: getattr(self, name) for name in ("width", "blocks", "expansion", "skip")},
            "unet": {"channels": self.unet_channels, "layers": self.unet_layers},
        }
        shared = {name: getattr(self, name) for name in ("layout", "heads", "token_width", "dropout")}
        chosen = {} if self.target == "auto" else {"target": self.target}
        data = {"feature_dimension": feature_dimension, "text_dimension": text_dimension, "n_centres": n_centres}
        return denoiser_config(self.denoiser, **data, **shared, **chosen, **own.get(self.denoiser, {}))

    @property
    def condition_dropout(self) -> ConditionDropout:
        """The three dropout rates together."""
        return ConditionDropout(self.drop_everything, self.drop_hardness, self.drop_token)

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step: linear warm-up, then "cosine" or "linear" decay to 0, or "constant"."""
        warm_up = max(1, round(self.warm_up * self.steps))
        if step < warm_up:
            return self.learning_rate * (step + 1) / warm_up
        share = (step - warm_up) / max(1, self.steps - warm_up)
        factors = {"cosine": 0.5 * (1.0 + math.cos(math.pi * share)), "linear": 1.0 - share, "constant": 1.0}
        if self.decay not in factors:
            raise WorkbenchError(f"decay {self.decay!r} is not known; expected one of {', '.join(factors)}.")
        return self.learning_rate * factors[self.decay]

    def ema_decay_at(self, step: int) -> float:
        """The decay of the weight average; shorter at first, so that it forgets the initial weights."""
        return min(self.ema_decay, (1 + step) / (10 + step))
