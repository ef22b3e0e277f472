"""A small open_clip model trained on crops and captions: the text tower of the drawn scenes.

It stands in for CLIP where CLIP has not seen the pictures: open_clip's own model class and contrastive loss, at a
size that trains in well under a minute on two cores.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
from torch import nn

from workbench.devices import chosen_device
from workbench.errors import WorkbenchError
from workbench.files import read_json
from workbench.language.caption_encoder import CaptionEncoder
from workbench.language.contrastive_training import (
    CHECKPOINT,
    encode_images,
    train_contrastively,
)
from workbench.language.tower_recall import held_out_recall, relation_recall
from workbench.randomness import derived_seed
from workbench.scenes.vocabulary import Vocabulary

DRAWN_TOWER = Path(__file__).with_name("drawn_tower.json")
HELD_OUT_SHARE = 0.1
CROPS_PER_PAIR = 3
CROP_SIZE = 64  # pixels; the tower resizes to its own
CropMaker = Callable[..., tuple[np.ndarray, np.ndarray]]


def train_drawn_tower(
    folder: Path,
    *,
    scenes: Path,
    draw_crops: CropMaker,
    crops: int = 9000,
    epochs: int = 8,
    seed: int,
    batch: int = 96,
) -> dict:
    """Train the small tower on about ``crops`` crops of freely drawn scenes, all classes equally often.

    ``scenes`` is a folder whose vocabulary says which classes there are; ``draw_crops(pairs, seed, singles=,
    crop_size=, object_names=, relation_names=)`` gives images (n, c, c, 3) uint8 and their triplets (n, 3), -1 for
    the relation and the object of a single thing (``drawn_scenes.prepare.draw_free_crops``). Of each drawn pair
    come three crops: one of both, captioned "subject relation object" or, every third time, with the relation
    alone, so that single relation names have an embedding too; and one of each thing, captioned with its name.
    Returns the recall on held-out crops.
    """
    vocabulary = Vocabulary.read(scenes)
    images, triplets = draw_crops(
        math.ceil(crops / CROPS_PER_PAIR), seed, singles=CROPS_PER_PAIR - 1, crop_size=CROP_SIZE,
        object_names=vocabulary.objects, relation_names=vocabulary.relations,
    )  # fmt: skip
    captions = [_captions_of_crop(triplet, vocabulary) for triplet in triplets.tolist()]
    metrics = train_text_tower(
        folder,
        images=images,
        captions=captions,
        groups=np.where(triplets[:, 1] < 0, "object", "triplet"),
        other_texts=[*vocabulary.objects, *vocabulary.relations],
        epochs=epochs,
        seed=seed,
        batch=batch,
        triplets=triplets,
        vocabulary=vocabulary,
    )
    shown = set(np.unique(triplets[:, [0, 2]])) - {-1}
    never = [name for number, name in enumerate(vocabulary.objects) if number not in shown]
    return {**metrics, "names_never_shown": never}


def train_text_tower(
    folder: Path,
    *,
    images: np.ndarray,
    captions: Sequence[tuple[str, ...]],
    config: dict | None = None,
    seed: int,
    epochs: int,
    batch: int = 96,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.05,
    groups: np.ndarray | None = None,
    other_texts: Sequence[str] = (),
    triplets: np.ndarray | None = None,
    vocabulary: Vocabulary | None = None,
) -> dict:
    """Contrastive training on images (n, c, c, 3) uint8 and the captions of each, into a caption encoder's folder.

    Each epoch draws one of a crop's captions; the first is the one that recall is measured with, on the last tenth
    of the crops, which is not trained on, within ``groups`` (n,) of crops. ``config`` is an open_clip model
    configuration (default ``drawn_tower.json``); ``other_texts`` are names that must be embeddable later.
    Resumes after the last finished epoch; a loss that is not finite stops with WorkbenchError and keeps it.
    Writes caption_encoder.json/.safetensors and losses.csv (epoch, step, loss).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = config or read_json(DRAWN_TOWER)
    if len(images) != len(captions) or len(images) < 2:
        raise WorkbenchError(
            f"{folder}: {len(images)} images and {len(captions)} captions. Expected the same number, at least 2."
        )
    texts = sorted({text for of_crop in captions for text in of_crop} | set(other_texts))
    tokens, token_ids = _tokens(texts, config["text_cfg"]["context_length"])
    number = {text: row for row, text in enumerate(texts)}
    captions_of_crop = [np.array([number[text] for text in of_crop]) for of_crop in captions]
    pixels = _resized(images, config["vision_cfg"]["image_size"])
    model = _new_model(config, len(token_ids), seed)
    settings = {
        "config": config, "seed": seed, "epochs": epochs, "batch": batch, "learning_rate": learning_rate,
        "weight_decay": weight_decay, "data": _digest(pixels, texts, captions_of_crop),
    }  # fmt: skip
    in_training = len(images) - max(1, round(HELD_OUT_SHARE * len(images)))
    train_contrastively(folder, model, pixels[:in_training], captions_of_crop[:in_training], tokens, settings)

    model.eval()
    encoder = _caption_encoder(model, config, token_ids)
    groups = np.full(len(images), "all") if groups is None else np.asarray(groups)
    image_vectors = _image_vectors(model, pixels[in_training:])
    main = [of_crop[0] for of_crop in captions[in_training:]]
    metrics = held_out_recall(image_vectors, main, groups[in_training:], encoder)
    if triplets is not None and vocabulary is not None:
        metrics |= relation_recall(image_vectors, triplets[in_training:], vocabulary, encoder)
    encoder.save(folder)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return {"crops": len(images), "dimension": encoder.dimension, "encoder": encoder.encoder, **metrics}


def _captions_of_crop(triplet: list[int], vocabulary: Vocabulary) -> tuple[str, ...]:
    subject, relation, object = triplet
    if relation < 0:
        return (vocabulary.objects[max(subject, object)],)
    whole = vocabulary.caption(subject, relation, object)
    return (whole, whole, vocabulary.relations[relation])


def _tokens(texts: list[str], context: int) -> tuple[torch.Tensor, list[int]]:
    """Rows of a compact vocabulary (n, context) int64, and the byte-pair ids (ascending) those rows stand for.

    Ascending order keeps the end-of-text token the highest, which is how open_clip finds it.
    """
    tokens = open_clip.SimpleTokenizer(context_length=context)(texts)
    tokeniser_end = int(tokens.max())
    cut = [text for text, row in zip(texts, open_clip.tokenize(texts, 77), strict=True) if int(row.argmax()) >= context]
    if cut:
        raise WorkbenchError(
            f"The caption {cut[0]!r} has more tokens than the tower's context of {context}. "
            "Raise text_cfg.context_length in the tower's configuration."
        )
    ids = sorted({0, tokeniser_end, *tokens.unique().tolist()})
    return torch.searchsorted(torch.tensor(ids), tokens), ids


def _resized(images: np.ndarray, size: int) -> torch.Tensor:
    # (n, c, c, 3) uint8 -> (n, 3, size, size) uint8
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    if pixels.shape[2:] == (size, size):
        return pixels
    chunks = [
        nn.functional.interpolate(chunk.float(), (size, size), mode="bilinear", antialias=True).round().byte()
        for chunk in pixels.split(512)
    ]
    return torch.cat(chunks)


def _new_model(config: dict, vocabulary_size: int, seed: int) -> open_clip.CustomTextCLIP:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "text tower"))
        model = open_clip.CustomTextCLIP(
            config["embed_dim"],
            config["vision_cfg"],
            {**config["text_cfg"], "vocab_size": vocabulary_size},
            quick_gelu=config["quick_gelu"],
        )
    return model.to(chosen_device(), memory_format=torch.channels_last)


@torch.inference_mode()
def _image_vectors(model: open_clip.CustomTextCLIP, pixels: torch.Tensor) -> np.ndarray:
    return torch.cat([encode_images(model, chunk).cpu() for chunk in pixels.split(256)]).numpy()


def _caption_encoder(model, config: dict, token_ids: list[int]) -> CaptionEncoder:
    weights = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    digest = hashlib.sha256(b"".join(weights[name].numpy().tobytes() for name in sorted(weights))).hexdigest()
    text_config = {**config["text_cfg"], "vocab_size": len(token_ids)}
    identity = {"encoder": f"small open_clip {digest[:12]}", "token_ids": token_ids}
    return CaptionEncoder.from_clip_weights({**config, "text_cfg": text_config, **identity}, weights)


def _digest(pixels: torch.Tensor, texts: list[str], captions: list[np.ndarray]) -> str:
    digest = hashlib.sha256(pixels.contiguous().numpy().tobytes())
    digest.update(json.dumps([texts, [rows.tolist() for rows in captions]]).encode())
    return digest.hexdigest()
