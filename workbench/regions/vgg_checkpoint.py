"""Detector checkpoints: LTVRR's key layout, torchvision's ImageNet file, and our own safetensors."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from workbench.checkpoints import read_tensors, save_tensors, weight_faults
from workbench.errors import WorkbenchError
from workbench.regions.vgg import (
    DIMENSION_AT_FULL_WIDTH,
    LTVRR_PREFIXES,
    TORCHVISION_PREFIXES,
    VGGConfig,
    VGGNetwork,
    rename_keys,
)

FORMAT = "workbench region detector 2"
_REMEDY = "Pre-train a detector again, or give an LTVRR checkpoint (.pth)."
# What a detector has beyond the encoder: its proposals and its own outputs (reference 2.8).
IGNORED_PREFIXES = {
    "ltvrr": ("RPN.", "Box_Outs."),
    "workbench": ("Box_Outs.",),
    "imagenet": ("classifier.6.",),
}
# torchvision's preprocessing of its ImageNet weights, red, green, blue, for pixels between 0 and 1.
IMAGENET_MEANS_RGB = (0.485, 0.456, 0.406)
IMAGENET_DEVIATIONS_RGB = (0.229, 0.224, 0.225)


class CoverageReport(NamedTuple):
    """What a checkpoint gave to the encoder: every key of the encoder is in ``loaded``.

    ``ignored`` lists the file's keys that the encoder has no use for; ``details`` is the metadata of our own
    files (among it ``classes``, the pre-training class names) and empty otherwise.
    """

    loaded: tuple[str, ...]
    ignored: tuple[str, ...]
    details: dict[str, Any]


def open_detector(path: Path, *, imagenet: bool = False, **preparation) -> tuple[VGGNetwork, CoverageReport]:
    """A network in evaluation mode made for the checkpoint, and what was loaded; anything short of all is refused.

    ``path`` is a file of our own (``.safetensors``), a folder that holds ``detector.safetensors``, an LTVRR detector (a
    dict with the key ``model``, reference 2.8), or with ``imagenet`` a local file of torchvision's VGG-16. The width
    comes from the file, and so does the preparation of images where the file knows it; ``preparation`` (short_side,
    longest_side, channel_means) replaces it. A WorkbenchError lists all keys that are missing, extra or misshapen.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "detector.safetensors"
    state, layout, details = _read(path, imagenet)
    config = details.get("config") or {"width": _width(path, state, layout)}
    with torch.device("meta"):  # random weights would take memory and time, and somebody else's random numbers
        encoder = VGGNetwork(**(config | preparation))
    report = _load(path, encoder, state, layout, details)
    return encoder.eval(), report


def save_detector(
    path: Path, network: VGGNetwork, *, details: Mapping[str, Any] | None = None, extra: dict[str, Tensor] | None = None
) -> None:
    """Write ``network`` as safetensors under LTVRR's key names, atomically.

    ``details`` are JSON values for the metadata, among them ``classes``, the pre-training class names; ``extra`` holds
    further tensors, for example ``Box_Outs.cls_score.weight``.
    """
    facts = {**(details or {}), "format": FORMAT, "config": network.config.as_dict()}
    save_tensors(path, network.layout_state() | (extra or {}), facts)


def _read(path: Path, imagenet: bool) -> tuple[dict[str, Tensor], str, dict[str, Any]]:
    if not path.is_file():
        raise WorkbenchError(f"{path}: the detector checkpoint is missing. Give the path of an existing file.")
    if path.suffix == ".safetensors":
        state, facts = read_tensors(path, _REMEDY)
        if facts.get("format") != FORMAT:
            raise WorkbenchError(f"{path}: its format is {facts.get('format')!r}, expected {FORMAT!r}. {_REMEDY}")
        return state, "workbench", facts
    content = _load_pickled_tensors(path)
    if imagenet:
        return _tensors(path, content), "imagenet", {}
    if not isinstance(content, dict) or "model" not in content:
        found = sorted(content)[:5] if isinstance(content, dict) else type(content).__name__
        raise WorkbenchError(
            f"{path}: expected a detector in the LTVRR layout, a dict with the key 'model', found {found}. "
            "For torchvision's ImageNet weights pass imagenet=True."
        )
    return _tensors(path, content["model"]), "ltvrr", {}


def _load(
    path: Path, encoder: VGGNetwork, state: dict[str, Tensor], layout: str, details: dict[str, Any]
) -> CoverageReport:
    ignored = tuple(sorted(key for key in state if key.startswith(IGNORED_PREFIXES[layout])))
    given = {key: weight for key, weight in state.items() if key not in set(ignored)}
    prefixes = TORCHVISION_PREFIXES if layout == "imagenet" else LTVRR_PREFIXES
    expected = rename_keys(encoder.state_dict(), prefixes)
    faults = weight_faults({key: tuple(weight.shape) for key, weight in expected.items()}, given)
    if faults:
        listed = "\n  ".join(faults)
        raise WorkbenchError(
            f"{path}: the checkpoint does not cover the region encoder, so some weights would stay random:\n  {listed}"
            "\nUse a VGG-16 Fast R-CNN detector of the encoder's width, or open it with the width of the file."
        )
    weights = rename_keys(given, {theirs: ours for ours, theirs in prefixes.items()})
    weights = {key: weight.to(torch.float32) for key, weight in weights.items()}
    if layout == "imagenet":
        weights["convs.0.weight"] = _fold_imagenet_preprocessing(weights["convs.0.weight"])
        config = encoder.config.as_dict() | {"channel_means": [255 * mean for mean in reversed(IMAGENET_MEANS_RGB)]}
        encoder.config = VGGConfig(**config)
    encoder.load_state_dict(weights, assign=next(encoder.parameters()).is_meta)
    return CoverageReport(tuple(sorted(expected)), ignored, details)


def _load_pickled_tensors(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    # All are what torch raises for a cut file, by format and by where it is cut.
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, pickle.UnpicklingError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise WorkbenchError(
            f"{path}: not a whole torch checkpoint of plain tensors ({first_line}). "
            "It is truncated or holds other objects; copy or download it again."
        ) from error


def _tensors(path: Path, state: Any) -> dict[str, Tensor]:
    if not isinstance(state, Mapping) or not all(isinstance(weight, Tensor) for weight in state.values()):
        raise WorkbenchError(f"{path}: expected a mapping from names to tensors. Give a detector checkpoint.")
    return dict(state)


def _width(path: Path, state: Mapping[str, Tensor], layout: str) -> float:
    key = "classifier.3.bias" if layout == "imagenet" else "Box_Head.heads.3.bias"
    if key not in state:
        raise WorkbenchError(
            f"{path}: has no {key!r}, so the width of the encoder is unknown. Is it a VGG-16 detector?"
        )
    return len(state[key]) / DIMENSION_AT_FULL_WIDTH


def _fold_imagenet_preprocessing(weight: Tensor) -> Tensor:
    # Red-green-blue in [0, 1] divided by deviations becomes blue-green-red in [0, 255]. The means stay outside, as
    # the encoder's channel means: folded into the bias they would be wrong where the convolution pads with zeros.
    deviations = 255 * torch.tensor(IMAGENET_DEVIATIONS_RGB).view(1, 3, 1, 1)
    return (weight / deviations).flip(1)
