"""What one row costs in each network: parameters and operations counted on the real modules without any weights.

Modules are built on torch's meta device, which has shapes and no numbers (heads run on the CPU, on any numbers).
``torch.utils.flop_counter`` counts products, convolutions and attention, a multiplication and an addition as two
operations. What training keeps for the backward pass is the storage that autograd saves, counted in float32.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

BYTES_PER_WEIGHT = 4
# Weights, gradients and AdamW's two moments; the denoiser keeps an average of its weights too.
TRAINING_COPIES, AVERAGE_COPIES = 4, 1
CLIP_CONTEXT = 77
DENOISER_ROWS = 64
HEAD_ROWS = 8


@dataclass(frozen=True)
class NetworkCost:
    """Operations of one row forwards and of forwards and backwards, and bytes that training keeps of a row."""

    parameters: int
    forward: float
    training: float
    saved: float

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights in float32."""
        return BYTES_PER_WEIGHT * self.parameters


@dataclass(frozen=True)
class EncoderCost:
    """Operations of the region encoder a picture and a region, and its largest two activations of a picture."""

    parameters: int
    picture: float
    region: float
    activations: float

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights in float32."""
        return BYTES_PER_WEIGHT * self.parameters


@functools.cache
def encoder_cost(width: float, height: int, breadth: int) -> EncoderCost:
    """VGG-16 at ``width`` on a picture of ``height`` x ``breadth`` pixels, after resizing; RoIAlign is not counted."""
    from workbench.regions.encoder import BINS, RegionEncoder

    with torch.device("meta"):
        encoder = RegionEncoder(width)
        picture = torch.empty(1, 3, height, breadth)
        region = torch.empty(1, encoder.convs[-2].out_channels * BINS * BINS)
    sizes: list[int] = []
    for layer in encoder.convs:
        layer.register_forward_hook(lambda _, given, found: sizes.append(given[0].numel() + found.numel()))
    with torch.no_grad():
        of_picture, of_region = _operations(lambda: encoder.convs(picture)), _operations(lambda: encoder.heads(region))
    return EncoderCost(_parameters(encoder), of_picture, of_region, float(BYTES_PER_WEIGHT * max(sizes)))


def denoiser_cost(*, dimension: int, text_dimension: int, centres: int, batch_size: int, **options: Any) -> NetworkCost:
    """A denoiser of ``DiffusionConfig(batch_size=..., **options)``, each row with conditions of its own."""
    from workbench.diffusion.denoiser_kinds import build_denoiser
    from workbench.diffusion.diffusion_config import DiffusionConfig
    from workbench.diffusion.token_bank import TokenBatch
    from workbench.diffusion.training_batches import ROWS_PER_LEVEL

    config = DiffusionConfig(batch_size=batch_size, **options).network_config(
        feature_dimension=dimension, text_dimension=text_dimension, n_centres=centres
    )
    rows = min(batch_size, DENOISER_ROWS)
    levels = rows // math.gcd(rows, ROWS_PER_LEVEL)
    with torch.device("meta"):
        model = build_denoiser(config)
        slots = len(config.slot_dimensions)
        vectors = [torch.empty(rows, size) for size in config.slot_dimensions]
        numbers = torch.zeros(rows, slots, dtype=torch.long)
        tokens = TokenBatch(torch.zeros(slots, dtype=torch.long), vectors, numbers)
        noisy, level, region = torch.empty(rows, dimension), torch.empty(levels), numbers[:, 0]

    def forward() -> Tensor:
        return model(noisy, model.modulation(level), model.encode(tokens), region)

    return _training_cost(model, forward, rows)


def head_cost(
    architecture: str, *, dimension: int, words: int, objects: int, relations: int, batch_size: int,
    sizes: Mapping[str, Any] | None = None, separate_roles: bool = False,
) -> NetworkCost:  # fmt: skip
    """A recogniser's head in batches of ``batch_size`` relations, which share the embedding of the class names."""
    from workbench.recognition.heads import FROM_DATA, empty_head, read_config

    given = dict(zip(FROM_DATA, (dimension, words, objects, relations, separate_roles), strict=True))
    with torch.device("meta"):
        head = empty_head(read_config(architecture, given | dict(sizes or {})))
    # Heads cast by device and lay scenes out by their lengths, for which the meta device will not do.
    head = head.to_empty(device="cpu")
    once, twice = (_head_pass(head, scenes * HEAD_ROWS) for scenes in (1, 2))

    def of_a_row(name: str) -> float:
        first, second = (passes * HEAD_ROWS * getattr(cost, name) for passes, cost in ((1, once), (2, twice)))
        own = (second - first) / HEAD_ROWS
        return own + (first - HEAD_ROWS * own) / batch_size

    return NetworkCost(once.parameters, of_a_row("forward"), of_a_row("training"), of_a_row("saved"))


def _head_pass(head: nn.Module, rows: int) -> NetworkCost:
    from workbench.recognition.scene_tokens import Scenes

    dimension, scenes = head.config.feature_dimension, None
    if head.reads_scenes:
        lengths = torch.full((rows // HEAD_ROWS,), HEAD_ROWS)
        scenes = Scenes(torch.zeros(rows, 3 * dimension), lengths, torch.arange(rows) // HEAD_ROWS)
    features = [torch.zeros(rows, dimension) for _ in range(3)]
    return _training_cost(head, lambda: sum(part.square().mean() for part in head(*features, scenes)), rows)


@functools.cache
def text_cost(model: str, tokens: int) -> NetworkCost:
    """The text tower of an open_clip model, per caption of ``tokens`` tokens (attention's square is left out)."""
    import open_clip

    from workbench.errors import WorkbenchError

    config = open_clip.get_model_config(model)
    if config is None:
        raise WorkbenchError(f"open_clip knows no model {model!r}; `open_clip.list_models()` has the names.")
    with torch.device("meta"):
        clip = open_clip.CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"])
        captions = torch.zeros(1, CLIP_CONTEXT, dtype=torch.long)
    with torch.no_grad():
        operations = _operations(lambda: clip.encode_text(captions)) * tokens / CLIP_CONTEXT
    parameters = _parameters(clip) - _parameters(clip.visual) - clip.logit_scale.numel()
    return NetworkCost(parameters, operations, 3 * operations, 0.0)


def text_dimension(model: str) -> int:
    """The length of a model's text vectors."""
    import open_clip

    return open_clip.get_model_config(model)["embed_dim"]


def _training_cost(network: nn.Module, forward: Callable[[], Tensor], rows: int) -> NetworkCost:
    own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # held, so that no other storage takes its address
        return tensor

    with FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = forward().square().mean()
        forwards = counter.get_total_flops()
        loss.backward()
    saved = sum(storage.nbytes() for storage in kept.values())
    return NetworkCost(_parameters(network), forwards / rows, counter.get_total_flops() / rows, saved / rows)


def _operations(call: Callable[[], Any]) -> float:
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
