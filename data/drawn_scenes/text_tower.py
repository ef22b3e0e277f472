"""A small open_clip model trained on crops and captions: the text tower of the drawn scenes.

It stands in for CLIP where CLIP has not seen the images: open_clip's own model class and contrastive loss, at a
size that trains in well under a minute on two cores.
"""

import functools
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from drawn_scenes.free_crops import draw_free_crops
from workbench.devices import full_precision
from workbench.errors import WorkbenchError
from workbench.files import read_json
from workbench.language.caption_encoder import CaptionEncoder
from workbench.randomness import derived_seed, generator
from workbench.ranges import Count, Ranged, Seed
from workbench.scenes.vocabulary import Vocabulary
from workbench.training import train
from workbench.training_config import TrainingConfig, TrainingEdge
from workbench.training_state import forget_state

if TYPE_CHECKING:
    from open_clip import CustomTextCLIP

MODEL = Path(__file__).with_name("text_tower.json")
HELD_OUT_SHARE = 0.1
CROPS_PER_PAIR = 3
CROP_SIZE = 64  # pixels; the tower resizes to its own
STEPS_BETWEEN_LINES = 20
LARGEST_LOGIT_SCALE = math.log(100.0)  # CLIP's own bound (Radford et al. 2021, section 2.5)
WARM_UP_SHARE = 0.05
TRAINING = TrainingConfig(learning_rate=2e-3, betas=(0.9, 0.98), weight_decay=0.05, gradient_clip=1.0)


@dataclass(frozen=True)
class TowerConfig(Ranged):
    """How the small tower is trained against crops.

    ``crops`` is about how many crops are drawn, ``epochs`` the passes over them; the steps of ``training`` follow from
    both, and its seed is ``seed``.
    """

    crops: Count = 9000
    epochs: Count = 8
    batch_size: Count = 96
    training: TrainingConfig = TRAINING
    seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.training.require_neither_steps_nor_seed()

    def training_of(self, steps: int) -> TrainingConfig:
        """The training over this many steps, the first twentieth of them warm-up."""
        warm_up = self.training.warm_up_steps or max(1, round(WARM_UP_SHARE * steps))
        return replace(self.training, steps=steps, warm_up_steps=warm_up, seed=self.seed)


def train_text_tower(
    folder: Path,
    *,
    scenes: Path,
    config: TowerConfig,
    draw_crops: Callable[..., tuple[np.ndarray, np.ndarray]] = draw_free_crops,
    edge: TrainingEdge | None = None,
) -> dict:
    """Train the small tower on freely drawn crops of scenes, all classes equally often, and one caption of each.

    ``scenes`` is a folder whose vocabulary says which classes there are; ``draw_crops`` gives images and triplets as
    `draw_free_crops` does. Of each drawn pair come three crops: one of both, captioned "subject relation object" or,
    every third time, with the relation alone, so that single relation names have an embedding too; and one of each
    thing, captioned with its name.

    The model is ``text_tower.json``, in open_clip's words. The last tenth of the crops is not trained on: there recall
    is measured. Writes caption_encoder.safetensors and log.jsonl, and resumes what was stopped.
    """
    folder, model, vocabulary = Path(folder), read_json(MODEL), Vocabulary.read(scenes)
    images, triplets = draw_crops(
        math.ceil(config.crops / CROPS_PER_PAIR), config.seed, singles=CROPS_PER_PAIR - 1, crop_size=CROP_SIZE,
        object_names=vocabulary.objects, relation_names=vocabulary.relations,
    )  # fmt: skip
    captions = [_captions_of_crop(triplet, vocabulary) for triplet in triplets.tolist()]
    texts = sorted({text for of_crop in captions for text in of_crop} | {*vocabulary.objects, *vocabulary.relations})
    tokens, token_ids = _tokens(texts, model["text_cfg"]["context_length"])
    number = {text: row for row, text in enumerate(texts)}
    caption_rows = [np.array([number[text] for text in of_crop]) for of_crop in captions]
    pixels = _resized(images, model["vision_cfg"]["image_size"])
    in_training = len(images) - max(1, round(HELD_OUT_SHARE * len(images)))
    batches = _CropBatches(pixels[:in_training], caption_rows, config)
    objective = ContrastiveObjective(_new_model(model, len(token_ids), config.seed), tokens)
    training = config.training_of(config.epochs * batches.steps_per_epoch)
    edge = edge or TrainingEdge(name="the text tower")
    train(objective, batches, folder, training, log_every=STEPS_BETWEEN_LINES, edge=edge)

    encoder = _caption_encoder(objective.network, model, token_ids)
    held_out, main = triplets[in_training:], [of_crop[0] for of_crop in captions[in_training:]]
    image_vectors = _image_vectors(objective.network, pixels[in_training:])
    recall = _held_out_recall(image_vectors, held_out, main, encoder)
    recall |= _relation_recall(image_vectors, held_out, vocabulary, encoder)
    encoder.save(folder)
    forget_state(folder)
    never = [name for place, name in enumerate(vocabulary.objects) if place not in triplets[:, [0, 2]]]
    known = {"crops": len(images), "dimension": encoder.dimension, "encoder": encoder.encoder}
    return {**known, **recall, "names_never_shown": never}


def shared_caption_loss(image: Tensor, text: Tensor, scale: Tensor, caption: Tensor) -> Tensor:
    """CLIP's contrastive loss of n pairs (n, T) of unit vectors, where rows that share a caption are positives.

    With 24 relations a batch holds the same words many times; calling those negatives would push equal texts apart.
    ``caption`` (n,) is the caption number of each row; the target of a row spreads over the rows that have its caption.
    """
    same = (caption[:, None] == caption[None, :]).float()
    target = same / same.sum(dim=1, keepdim=True)
    of_images = nn.functional.cross_entropy(scale * image @ text.T, target)
    return (of_images + nn.functional.cross_entropy(scale * text @ image.T, target)) / 2


class ContrastiveObjective(nn.Module):
    """The loss of pixels (n, 3, s, s) uint8 and the rows of ``tokens`` (texts, context) that are their captions."""

    tokens: Tensor

    def __init__(self, network: "CustomTextCLIP", tokens: Tensor):
        super().__init__()
        self.network = network
        self.register_buffer("tokens", tokens, persistent=False)

    def forward(self, batch: tuple[Tensor, Tensor], step: int) -> dict[str, Tensor]:
        """The contrastive loss of a batch; each distinct text is read once."""
        pixels, caption = (part.to(self.tokens.device) for part in batch)
        distinct, caption = caption.unique(return_inverse=True)
        image_vectors = _encoded(self.network, pixels)
        # Convolutions pay in bfloat16 where the hardware has it; the short text contexts do not.
        with full_precision(pixels.device):
            text_vectors = self.network.encode_text(self.tokens[distinct], normalize=True)[caption]
            scale = self.network.logit_scale.exp()
            return {"contrastive": shared_caption_loss(image_vectors, text_vectors, scale, caption)}

    @torch.no_grad()
    def after_step(self) -> None:
        """Keep the temperature within CLIP's bound."""
        self.network.logit_scale.clamp_(0, LARGEST_LOGIT_SCALE)


class _CropBatches:
    """``batches(step, part, parts)``: pixels and one caption of each crop, every crop once an epoch."""

    def __init__(self, pixels: Tensor, captions: list[np.ndarray], config: TowerConfig):
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


def _captions_of_crop(triplet: list[int], vocabulary: Vocabulary) -> tuple[str, ...]:
    """What a crop may be called; recall is measured with the first."""
    subject, relation, object = triplet
    if relation < 0:
        return (vocabulary.objects[max(subject, object)],)
    whole = vocabulary.caption(subject, relation, object)
    return (whole, whole, vocabulary.relations[relation])


def _held_out_recall(
    image_vectors: np.ndarray, triplets: np.ndarray, captions: list[str], encoder: CaptionEncoder
) -> dict[str, float]:
    """Recall at 1 and 5, in 0..1, of each crop's caption among the distinct ones of things, and of pairs."""
    metrics = {}
    for group, rows in (("object", triplets[:, 1] < 0), ("triplet", triplets[:, 1] >= 0)):
        if not rows.any():
            continue
        candidates, right = np.unique([captions[row] for row in np.flatnonzero(rows)], return_inverse=True)
        scores = image_vectors[rows] @ encoder.embed(candidates.tolist()).T  # (crops, candidates)
        place = _place_of(scores, right)
        metrics[f"{group}_recall_at_1"] = float((place < 1).mean())
        metrics[f"{group}_recall_at_5"] = float((place < 5).mean())
        metrics[f"{group}_chance_at_1"] = 1.0 / len(candidates)
    return metrics


def _relation_recall(
    image_vectors: np.ndarray, triplets: np.ndarray, vocabulary: Vocabulary, encoder: CaptionEncoder
) -> dict[str, float]:
    """Share of pair crops whose relation wins among all relations, subject and object given.

    A pair may truly have two relations, so 1.0 is out of reach.
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


def _tokens(texts: list[str], context: int) -> tuple[Tensor, list[int]]:
    """Rows of a compact vocabulary (n, context) int64, and the byte-pair ids (ascending) those rows stand for.

    Ascending order keeps the end-of-text token the highest, which is how open_clip finds it.
    """
    import open_clip

    tokens = open_clip.SimpleTokenizer(context_length=context)(texts)
    for text, row in zip(texts, open_clip.tokenize(texts, 77), strict=True):
        if int(row.argmax()) >= context:
            raise WorkbenchError(
                f"The caption {text!r} has more tokens than the tower's context of {context}. Shorten the class's name."
            )
    ids = sorted({0, *tokens.unique().tolist()})
    return torch.searchsorted(torch.tensor(ids), tokens), ids


def _resized(images: np.ndarray, size: int) -> Tensor:
    # (n, c, c, 3) uint8 -> (n, 3, size, size) uint8
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    chunks = [
        nn.functional.interpolate(chunk.float(), (size, size), mode="bilinear", antialias=True).round().byte()
        for chunk in pixels.split(512)
    ]
    return torch.cat(chunks)


def _new_model(config: dict, vocabulary_size: int, seed: int) -> "CustomTextCLIP":
    import open_clip

    text_config = {**config["text_cfg"], "vocab_size": vocabulary_size}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "text tower"))
        model = open_clip.CustomTextCLIP(
            config["embed_dim"], config["vision_cfg"], text_config, quick_gelu=config["quick_gelu"]
        )
    return model.to(memory_format=torch.channels_last)


def _encoded(model: "CustomTextCLIP", pixels: Tensor) -> Tensor:
    """Unit vectors (n, T) float32 of pixels (n, 3, s, s) uint8."""
    scaled = (pixels.float() / 127.5 - 1.0).contiguous(memory_format=torch.channels_last)
    return nn.functional.normalize(model.encode_image(scaled).float(), dim=-1)


@torch.inference_mode()
def _image_vectors(model: "CustomTextCLIP", pixels: Tensor) -> np.ndarray:
    device = model.eval().logit_scale.device
    return torch.cat([_encoded(model, chunk.to(device)).cpu() for chunk in pixels.split(256)]).numpy()


def _caption_encoder(model: "CustomTextCLIP", config: dict, token_ids: list[int]) -> CaptionEncoder:
    weights = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    digest = hashlib.sha256(b"".join(weights[name].numpy().tobytes() for name in sorted(weights))).hexdigest()
    text_config = {**config["text_cfg"], "vocab_size": len(token_ids)}
    identity = {"encoder": f"small open_clip {digest[:12]}", "token_ids": token_ids}
    return CaptionEncoder.from_clip_weights({**config, "text_cfg": text_config, **identity}, weights)
