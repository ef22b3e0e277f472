"""Contrastive training of an open_clip model on crops: the loss, one step, one checkpoint an epoch."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
from torch import nn

from workbench.devices import chosen_device, network_autocast, network_precision
from workbench.errors import WorkbenchError
from workbench.files import atomic_path
from workbench.language.clip_weights import UNREADABLE
from workbench.progress import track
from workbench.randomness import generator

CHECKPOINT = "checkpoint.pt"
LOSSES_FILE = "losses.csv"
WARM_UP_SHARE = 0.05
LARGEST_LOGIT_SCALE = math.log(100.0)  # CLIP's own bound (Radford et al. 2021, section 2.5)


class SharedCaptionLoss(open_clip.ClipLoss):
    """open_clip's contrastive loss where rows of a batch may share a caption: they are positives of each other.

    With 24 relations a batch holds the same words many times; calling those negatives would push equal texts apart.
    ``caption`` (n,) is the caption number of each row of the batch.
    """

    def __init__(self, caption: torch.Tensor):
        super().__init__()
        self.caption = caption

    def get_ground_truth(self, device, num_logits) -> torch.Tensor:
        """Soft targets (n, n): each row spreads over the rows that have its caption."""
        same = (self.caption[:, None] == self.caption[None, :]).float()
        return (same / same.sum(dim=1, keepdim=True)).to(device)


def train_contrastively(
    folder: Path,
    model: open_clip.CustomTextCLIP,
    pixels: torch.Tensor,
    captions: Sequence[np.ndarray],
    tokens: torch.Tensor,
    settings: dict,
) -> None:
    """Train ``model`` in place on pixels (n, 3, s, s) uint8; ``captions`` are the rows of ``tokens`` of each crop.

    ``settings`` (JSON) has seed, epochs, batch, learning_rate, weight_decay and whatever else identifies the run: a
    checkpoint of other settings is refused. Resumes after the last finished epoch to the same result; a loss that
    is not finite raises WorkbenchError and keeps the last checkpoint. Writes losses.csv (epoch, step, loss).
    """
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=settings["learning_rate"], betas=(0.9, 0.98), weight_decay=settings["weight_decay"]
    )
    done, losses = _resume(folder, model, optimiser, settings)
    steps = math.ceil(len(pixels) / settings["batch"])
    for epoch in track(range(done, settings["epochs"]), "text tower"):
        order = np.array_split(generator(settings["seed"], "tower order", epoch).permutation(len(pixels)), steps)
        draw = generator(settings["seed"], "tower caption", epoch).random(len(pixels))
        caption = np.array([rows[int(share * len(rows))] for rows, share in zip(captions, draw, strict=True)])
        for step, rows in enumerate(order):
            _set_learning_rate(optimiser, settings["learning_rate"], epoch * steps + step, settings["epochs"] * steps)
            loss = _step(model, optimiser, pixels[rows], torch.from_numpy(caption[rows]), tokens)
            if not math.isfinite(loss):
                raise WorkbenchError(
                    f"{folder}: the loss is {loss} in epoch {epoch}, step {step}. The checkpoint of the last whole "
                    "epoch is kept; choose a lower learning_rate and start in a new folder."
                )
            losses.append((epoch, step, loss))
        _keep(folder, model, optimiser, settings, epoch + 1, losses)


def encode_images(model: open_clip.CustomTextCLIP, pixels: torch.Tensor) -> torch.Tensor:
    """Unit vectors (n, T) float32 of pixels (n, 3, s, s) uint8."""
    device = chosen_device()
    scaled = (pixels.to(device).float() / 127.5 - 1.0).contiguous(memory_format=torch.channels_last)
    # Convolutions pay in bfloat16 where the hardware has it; the short text contexts do not, and stay float32.
    with network_autocast(device, network_precision(device)):
        vectors = model.encode_image(scaled)
    return nn.functional.normalize(vectors.float(), dim=-1)


def _step(model, optimiser, pixels: torch.Tensor, caption: torch.Tensor, tokens: torch.Tensor) -> float:
    # pixels (n, 3, s, s) uint8, caption (n,) rows of tokens (texts, context); each distinct text is read once
    device = chosen_device()
    distinct, caption = caption.unique(return_inverse=True)
    model.train()
    image_vectors = encode_images(model, pixels)
    text_vectors = model.encode_text(tokens[distinct].to(device), normalize=True)[caption.to(device)]
    loss = SharedCaptionLoss(caption)(image_vectors, text_vectors, model.logit_scale.exp())
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    with torch.no_grad():
        model.logit_scale.clamp_(0, LARGEST_LOGIT_SCALE)
    return float(loss.detach())


def _set_learning_rate(optimiser, peak: float, step: int, steps: int) -> None:
    warm_up = max(1, round(WARM_UP_SHARE * steps))
    rise = min(1.0, (step + 1) / warm_up)
    fall = 0.5 * (1 + math.cos(math.pi * max(0, step - warm_up) / max(1, steps - warm_up)))
    for group in optimiser.param_groups:
        group["lr"] = peak * rise * fall


def _keep(folder: Path, model, optimiser, settings: dict, epochs_done: int, losses: list) -> None:
    state = {
        "model": model.state_dict(), "optimiser": optimiser.state_dict(), "losses": losses,
        "epochs_done": epochs_done, "settings": json.dumps(settings, sort_keys=True),
    }  # fmt: skip
    with atomic_path(folder / CHECKPOINT) as temporary:
        torch.save(state, temporary)
    with atomic_path(folder / LOSSES_FILE) as temporary, open(temporary, "w", newline="") as file:
        csv.writer(file).writerows([("epoch", "step", "loss"), *losses])


def _resume(folder: Path, model, optimiser, settings: dict) -> tuple[int, list]:
    path = folder / CHECKPOINT
    if not path.is_file():
        return 0, []
    try:
        state = torch.load(path, map_location=chosen_device(), weights_only=True)
    except UNREADABLE as error:
        raise WorkbenchError(f"{path}: a truncated checkpoint ({error}). Delete it and train again.") from error
    if state["settings"] != json.dumps(settings, sort_keys=True):
        raise WorkbenchError(f"{path}: a checkpoint of other crops or settings. Delete it, or train in a new folder.")
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return state["epochs_done"], [tuple(entry) for entry in state["losses"]]
