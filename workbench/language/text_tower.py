"""A small open_clip model trained on crops and captions: the text tower of the drawn scenes.

It stands in for CLIP where CLIP has not seen the images: open_clip's own model class and contrastive loss, at a
size that trains in well under a minute on two cores.
"""

import functools
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from torch import Tensor, nn

from workbench.devices import full_precision
from workbench.errors import WorkbenchError
from workbench.files import read_json
from workbench.language.caption_encoder import CaptionEncoder
from workbench.language.config import TowerConfig
from workbench.randomness import derived_seed, generator
from workbench.scenes.vocabulary import Vocabulary
from workbench.training import TrainingEdge, forget_state, train

DRAWN_TOWER = Path(__file__).with_name("drawn_tower.json")
HELD_OUT_SHARE = 0.1
CROPS_PER_PAIR = 3
CROP_SIZE = 64  # pixels; the tower resizes to its own
STEPS_BETWEEN_LINES = 20
LARGEST_LOGIT_SCALE = math.log(100.0)  # CLIP's own bound (Radford et al. 2021, section 2.5)
CropMaker = Callable[..., tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class CaptionedCrops:
    """Images (n, c, c, 3) uint8 and the captions of each, of which the first is the one that recall is measured with.

    ``groups`` (n,): recall is measured within each. ``triplets`` (n, 3): class ids of ``vocabulary``, -1 for what a
    crop lacks. ``other_texts``: names that must be embeddable later.
    """

    images: np.ndarray
    captions: Sequence[tuple[str, ...]]
    groups: np.ndarray | None = None
    triplets: np.ndarray | None = None
    vocabulary: Vocabulary | None = None
    other_texts: tuple[str, ...] = ()


def train_drawn_tower(folder: Path, *, scenes: Path, draw_crops: CropMaker, config: TowerConfig) -> dict:
    """Train the small tower on freely drawn crops of scenes, all classes equally often.

    ``scenes`` is a folder whose vocabulary says which classes there are; ``draw_crops(pairs, seed, singles=,
    crop_size=, object_names=, relation_names=)`` gives images (n, c, c, 3) uint8 and their triplets (n, 3), -1 for
    the relation and the object of a single thing (``drawn_scenes.prepare.draw_free_crops``). Of each drawn pair
    come three crops: one of both, captioned "subject relation object" or, every third time, with the relation
    alone, so that single relation names have an embedding too; and one of each thing, captioned with its name.
    Returns the recall on held-out crops.
    """
    vocabulary = Vocabulary.read(scenes)
    images, triplets = draw_crops(
        math.ceil(config.crops / CROPS_PER_PAIR), config.seed, singles=CROPS_PER_PAIR - 1, crop_size=CROP_SIZE,
        object_names=vocabulary.objects, relation_names=vocabulary.relations,
    )  # fmt: skip
    captions = [_captions_of_crop(triplet, vocabulary) for triplet in triplets.tolist()]
    groups, names = np.where(triplets[:, 1] < 0, "object", "triplet"), (*vocabulary.objects, *vocabulary.relations)
    crops = CaptionedCrops(images, captions, groups, triplets, vocabulary, names)
    metrics = train_text_tower(folder, crops=crops, config=config)
    shown = set(np.unique(triplets[:, [0, 2]])) - {-1}
    never = [name for number, name in enumerate(vocabulary.objects) if number not in shown]
    return {**metrics, "names_never_shown": never}


def train_text_tower(
    folder: Path,
    *,
    crops: CaptionedCrops,
    config: TowerConfig,
    model: dict[str, Any] | None = None,
    edge: TrainingEdge | None = None,
) -> dict:
    """Contrastive training on crops and one caption of each, drawn again in each epoch.

    The last tenth of the crops is not trained on: there recall is measured. ``model`` is an open_clip model
    configuration (default ``drawn_tower.json``). Writes caption_encoder.safetensors and log.jsonl; resumes what was
    stopped (see `workbench.training.train`).
    """
    folder, model = Path(folder), model or read_json(DRAWN_TOWER)
    count, captions = len(crops.images), crops.captions
    if count != len(captions) or count < 2:
        raise WorkbenchError(f"{folder}: {count} images and {len(captions)} captions. Expected as many, at least 2.")
    texts = sorted({text for of_crop in captions for text in of_crop} | set(crops.other_texts))
    tokens, token_ids = _tokens(texts, model["text_cfg"]["context_length"])
    number = {text: row for row, text in enumerate(texts)}
    pixels = _resized(crops.images, model["vision_cfg"]["image_size"])
    in_training = count - max(1, round(HELD_OUT_SHARE * count))
    batches = _CropBatches(
        pixels[:in_training], [np.array([number[text] for text in of_crop]) for of_crop in captions], config
    )
    objective = ContrastiveObjective(_new_model(model, len(token_ids), config.seed), tokens)
    training = config.training_of(config.epochs * batches.steps_per_epoch)
    edge = edge or TrainingEdge(name="the text tower")
    train(objective, batches, folder, training, log_every=STEPS_BETWEEN_LINES, edge=edge)

    encoder = _caption_encoder(objective.network, model, token_ids)
    image_vectors = _image_vectors(objective.network.eval(), pixels[in_training:])
    groups = np.full(count, "all") if crops.groups is None else np.asarray(crops.groups)
    main = [of_crop[0] for of_crop in captions[in_training:]]
    metrics = held_out_recall(image_vectors, main, groups[in_training:], encoder)
    if crops.triplets is not None and crops.vocabulary is not None:
        metrics |= relation_recall(image_vectors, crops.triplets[in_training:], crops.vocabulary, encoder)
    encoder.save(folder)
    forget_state(folder)
    return {"crops": count, "dimension": encoder.dimension, "encoder": encoder.encoder, **metrics}


class SharedCaptionLoss(open_clip.ClipLoss):
    """open_clip's contrastive loss where rows of a batch may share a caption: they are positives of each other.

    With 24 relations a batch holds the same words many times; calling those negatives would push equal texts apart.
    ``caption`` (n,) is the caption number of each row of the batch.
    """

    def __init__(self, caption: Tensor):
        super().__init__()
        self.caption = caption

    def get_ground_truth(self, device: torch.device, num_logits: int) -> Tensor:
        """Soft targets (n, n): each row spreads over the rows that have its caption."""
        same = (self.caption[:, None] == self.caption[None, :]).float()
        return (same / same.sum(dim=1, keepdim=True)).to(device)


class ContrastiveObjective(nn.Module):
    """The loss of pixels (n, 3, s, s) uint8 and the rows of ``tokens`` (texts, context) that are their captions."""

    tokens: Tensor

    def __init__(self, network: open_clip.CustomTextCLIP, tokens: Tensor):
        super().__init__()
        self.network = network
        self.register_buffer("tokens", tokens, persistent=False)

    def forward(self, batch: tuple[Tensor, Tensor], step: int) -> dict[str, Tensor]:
        """The contrastive loss of a batch; each distinct text is read once."""
        pixels, caption = (part.to(self.tokens.device) for part in batch)
        distinct, caption = caption.unique(return_inverse=True)
        image_vectors = encode_images(self.network, pixels)
        # Convolutions pay in bfloat16 where the hardware has it; the short text contexts do not.
        with full_precision(pixels.device):
            text_vectors = self.network.encode_text(self.tokens[distinct], normalize=True)[caption]
            scale = self.network.logit_scale.exp()
            return {"contrastive": SharedCaptionLoss(caption)(image_vectors, text_vectors, scale)}

    @torch.no_grad()
    def after_step(self) -> None:
        """Keep the temperature within CLIP's bound."""
        self.network.logit_scale.clamp_(0, LARGEST_LOGIT_SCALE)


class _CropBatches:
    """``batches(step, part, parts)``: pixels and one caption of each crop, every crop once an epoch."""

    def __init__(self, pixels: Tensor, captions: Sequence[np.ndarray], config: TowerConfig):
        self.pixels, self.captions, self.config = pixels, captions, config
        self.steps_per_epoch = math.ceil(len(pixels) / config.batch_size)

    def __call__(self, step: int, part: int, parts: int) -> tuple[Tensor, Tensor]:
        epoch, within = divmod(step, self.steps_per_epoch)
        order, caption = self._epoch(epoch)
        rows = np.array_split(np.array_split(order, self.steps_per_epoch)[within], parts)[part]
        return self.pixels[torch.from_numpy(rows)], torch.from_numpy(caption[rows])

    @functools.lru_cache(maxsize=2)  # noqa: B019
    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The order of the crops, and the caption that is drawn for each."""
        count, seed = len(self.pixels), self.config.seed
        share = generator(seed, "tower caption", epoch).random(count)
        caption = [self.captions[row][int(share[row] * len(self.captions[row]))] for row in range(count)]
        return generator(seed, "tower order", epoch).permutation(count), np.array(caption)


def encode_images(model: open_clip.CustomTextCLIP, pixels: Tensor) -> Tensor:
    """Unit vectors (n, T) float32 of pixels (n, 3, s, s) uint8."""
    scaled = (pixels.float() / 127.5 - 1.0).contiguous(memory_format=torch.channels_last)
    return nn.functional.normalize(model.encode_image(scaled).float(), dim=-1)


def held_out_recall(
    image_vectors: np.ndarray, captions: list[str], groups: np.ndarray, encoder: CaptionEncoder
) -> dict[str, float]:
    """Recall at 1 and 5 of each crop's caption among the distinct captions of its group.

    ``image_vectors`` (n, T) unit rows; keys are "<group>_recall_at_1", "<group>_recall_at_5" and
    "<group>_chance_at_1", shares in 0..1.
    """
    metrics = {}
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        candidates, right = np.unique([captions[row] for row in rows], return_inverse=True)
        scores = image_vectors[rows] @ encoder.embed(candidates.tolist()).T  # (crops, candidates)
        place = _place_of(scores, right)
        metrics[f"{group}_recall_at_1"] = float((place < 1).mean())
        metrics[f"{group}_recall_at_5"] = float((place < 5).mean())
        metrics[f"{group}_chance_at_1"] = 1.0 / len(candidates)
    return metrics


def relation_recall(
    image_vectors: np.ndarray, triplets: np.ndarray, vocabulary: Vocabulary, encoder: CaptionEncoder
) -> dict[str, float]:
    """Share of pair crops whose relation wins among all relations, subject and object given.

    ``triplets`` (n, 3) class ids, -1 for the relation of a crop without one. A pair may truly have two relations,
    so 1.0 is out of reach.
    """
    rows = np.flatnonzero(triplets[:, 1] >= 0)
    if not len(rows):
        return {}
    relations = len(vocabulary.relations)
    captions = [vocabulary.caption(triplets[row, 0], r, triplets[row, 2]) for row in rows for r in range(relations)]
    distinct, where = np.unique(captions, return_inverse=True)
    vectors = encoder.embed(distinct.tolist())[where].reshape(len(rows), relations, -1)
    scores = np.einsum("nt,nrt->nr", image_vectors[rows], vectors)
    right = _place_of(scores, triplets[rows, 1]) < 1
    return {"relation_recall_at_1": float(right.mean()), "relation_chance_at_1": 1.0 / relations}


def _place_of(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """How many candidates score strictly higher than the right one, (n,)."""
    return (scores > np.take_along_axis(scores, right[:, None], axis=1)).sum(axis=1)


def _captions_of_crop(triplet: list[int], vocabulary: Vocabulary) -> tuple[str, ...]:
    subject, relation, object = triplet
    if relation < 0:
        return (vocabulary.objects[max(subject, object)],)
    whole = vocabulary.caption(subject, relation, object)
    return (whole, whole, vocabulary.relations[relation])


def _tokens(texts: list[str], context: int) -> tuple[Tensor, list[int]]:
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


def _resized(images: np.ndarray, size: int) -> Tensor:
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
    return model.to(memory_format=torch.channels_last)


@torch.inference_mode()
def _image_vectors(model: open_clip.CustomTextCLIP, pixels: Tensor) -> np.ndarray:
    device = model.logit_scale.device
    return torch.cat([encode_images(model, chunk.to(device)).cpu() for chunk in pixels.split(256)]).numpy()


def _caption_encoder(model: open_clip.CustomTextCLIP, config: dict, token_ids: list[int]) -> CaptionEncoder:
    weights = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    digest = hashlib.sha256(b"".join(weights[name].numpy().tobytes() for name in sorted(weights))).hexdigest()
    text_config = {**config["text_cfg"], "vocab_size": len(token_ids)}
    identity = {"encoder": f"small open_clip {digest[:12]}", "token_ids": token_ids}
    return CaptionEncoder.from_clip_weights({**config, "text_cfg": text_config, **identity}, weights)
