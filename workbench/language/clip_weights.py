"""Checkpoint files of CLIP models: where they are, and their tensors, read without running code from them."""

import zipfile
from pathlib import Path
from pickle import UnpicklingError  # what torch.load(weights_only=True) raises; nothing here unpickles

import open_clip
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from workbench.errors import WorkbenchError

UNREADABLE = (SafetensorError, UnpicklingError, RuntimeError, EOFError, OSError, ValueError)


def checkpoint_path(model: str, pretrained: str, published: dict, checkpoint: Path | None, download: bool) -> Path:
    """The file of a model's weights: ``checkpoint``, or open_clip's published one, fetched where ``download`` is true.

    ``published`` is open_clip's description of the weights, empty where it has none. WorkbenchError with the command
    that gets the file where nothing is to be downloaded.
    """
    if checkpoint is not None:
        return Path(checkpoint)
    if not published:
        raise WorkbenchError(
            f"open_clip publishes no weights {pretrained!r} for {model}; it has "
            f"{', '.join(open_clip.list_pretrained_tags_by_model(model)) or 'none'}. Choose one, or give `checkpoint`."
        )
    if download:
        return Path(open_clip.download_pretrained(published))
    repository = published.get("hf_hub", "").strip("/") or "ORGANISATION/MODEL"
    raise WorkbenchError(
        f"The weights of {model} {pretrained} are not here and nothing is downloaded unasked. Either run "
        f"`hf download {repository} open_clip_model.safetensors` and give that file as `checkpoint`, "
        "or pass `download=True` to fetch it now."
    )


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file or of a torch state dict, never through pickle (``weights_only``)."""
    path = Path(path)
    if not path.is_file():
        raise WorkbenchError(f"{path}: the checkpoint is missing. Correct the path, or write the file again.")
    _refuse_torchscript(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise WorkbenchError(
            f"{path}: not a readable checkpoint ({str(error)[:200]}). Expected safetensors or a torch state dict that "
            "`torch.load(weights_only=True)` accepts; fetch or write the file again."
        ) from error
    weights = weights.get("state_dict", weights) if isinstance(weights, dict) else None
    if not weights or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise WorkbenchError(f"{path}: expected a state dict of named tensors. Save the model's `state_dict()`.")
    return weights


def _refuse_torchscript(path: Path) -> None:
    """WorkbenchError for a TorchScript archive, such as OpenAI's own ViT-L-14.pt: loading one runs code from it."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        if not any(name.endswith("/constants.pkl") for name in archive.namelist()):
            return
    written = path.with_name(f"{path.stem}_weights.pt")
    raise WorkbenchError(
        f"{path}: a TorchScript archive, which runs code of its own when it is read, so it is not read here. The same "
        "weights as plain tensors: `hf download timm/vit_large_patch14_clip_224.openai open_clip_model.safetensors` is "
        "OpenAI's ViT-L-14. Or, if you trust this file, convert it once with `python -c \"import torch; "
        f"torch.save(torch.jit.load('{path}', map_location='cpu').state_dict(), '{written}')\"`. Then give the new "
        "file as `checkpoint`."
    )
