"""A small open_clip model trained on crops and captions: the text tower of the drawn scenes.

It stands in for CLIP where CLIP has not seen the images: open_clip's own model class and contrastive loss, at a
size that trains in well under a minute on two cores.
"""

import functools
import hashlib
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from drawn_scenes.free_crops import NO_CLASS, draw_free_crops
from drawn_scenes.rules import LEFT, RIGHT
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
CROPS_PER_PAIR = 2
CROP_SIZE = 64  # pixels; the tower resizes to its own
RIVALS = 3  # captions of a pair's two things with other relations
RELATION_ALONE = 1 / 3  # of the crops of pairs have the relation for a caption
MIRRORED = {LEFT: RIGHT, RIGHT: LEFT}
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
    `draw_free_crops` does. Of each drawn pair come two crops: one of both, captioned "subject relation object" or,
    every third time, with the relation alone, so that single relation names have an embedding too; and one of a single
    thing, captioned with its name. Half of the crops are mirrored. A pair is also told from its own things with other
    relations, which chance seldom puts into a batch.

    The model is ``text_tower.json``, in open_clip's words. The last tenth of the crops is not trained on: there recall
    is measured, with the weights as they are stored, in half precision. Writes caption_encoder.safetensors and
    log.jsonl, and resumes what was stopped.
    """
    folder, model, vocabulary = Path(folder), read_json(MODEL), Vocabulary.read(scenes)
    images, triplets = draw_crops(
        math.ceil(config.crops / CROPS_PER_PAIR), config.seed, singles=CROPS_PER_PAIR - 1, crop_size=CROP_SIZE,
        object_names=vocabulary.objects, relation_names=vocabulary.relations,
    )  # fmt: skip
    captions = Captions(vocabulary, model["text_cfg"]["context_length"])
    pixels = _resized(images, model["vision_cfg"]["image_size"])
    in_training = len(images) - max(1, round(HELD_OUT_SHARE * len(images)))
    batches = _CropBatches(pixels[:in_training], triplets[:in_training], vocabulary, config)
    objective = ContrastiveObjective(_new_model(model, len(captions.token_ids), config.seed), captions)
    training = config.training_of(config.epochs * batches.steps_per_epoch)
    edge = edge or TrainingEdge(name="the text tower")
    train(objective, batches, folder, training, log_every=STEPS_BETWEEN_LINES, edge=edge)

    encoder = _caption_encoder(objective.network, model, captions.token_ids)
    held_out = triplets[in_training:]
    image_vectors = _image_vectors(objective.network, pixels[in_training:])
    recall = _held_out_recall(image_vectors, held_out, captions.texts(held_out), encoder)
    recall |= _relation_recall(image_vectors, held_out, vocabulary, encoder)
    encoder.save(folder)
    forget_state(folder)
    never = [name for place, name in enumerate(vocabulary.objects) if place not in triplets[:, [0, 2]]]
    known = {"crops": len(images), "dimension": encoder.dimension, "encoder": encoder.encoder}
    return {**known, **recall, "names_never_shown": never}


class Captions:
    """What triplets (n, 3) of class ids are called, NO_CLASS where there is none: as texts, and as rows of tokens.

    ``token_ids`` are the byte-pair ids, ascending, that a tower of these names has rows for.
    """

    def __init__(self, vocabulary: Vocabulary, context: int):
        import open_clip

        tokeniser = open_clip.SimpleTokenizer()
        self.names = (vocabulary.objects, vocabulary.relations, vocabulary.objects)
        # Bytes are paired within words: the tokens of a caption are those of its names, one after the other.
        words = [[tokeniser.encode(name) for name in names] for names in self.names]
        longest = [int(np.argmax([len(name) for name in own])) for own in words]
        if sum(len(own[one]) for own, one in zip(words, longest, strict=True)) + 2 > context:
            raise WorkbenchError(
                f"The caption {vocabulary.caption(*longest)!r} has more tokens than the tower's context of {context}. "
                "Shorten the class's name."
            )
        ends = (tokeniser.sot_token_id, tokeniser.eot_token_id)
        self.token_ids = sorted({0, *ends, *(token for own in words for name in own for token in name)})
        row = {token: place for place, token in enumerate(self.token_ids)}
        self._words = [[[row[token] for token in name] for name in own] for own in words]
        self._start, self._end, self._context = row[ends[0]], row[ends[1]], context

    def texts(self, triplets: np.ndarray) -> list[str]:
        """The captions, with blanks between the names."""
        return [" ".join(self._parts(self.names, triplet)) for triplet in triplets.tolist()]

    def tokens(self, triplets: np.ndarray) -> Tensor:
        """Rows of tokens (n, context) int64."""
        rows = np.zeros((len(triplets), self._context), dtype=np.int64)
        for row, triplet in zip(rows, triplets.tolist(), strict=True):
            words = [self._start, *itertools.chain(*self._parts(self._words, triplet)), self._end]
            row[: len(words)] = words
        return torch.from_numpy(rows)

    @staticmethod
    def _parts(of_roles: Sequence[Sequence[Any]], triplet: list[int]) -> list[Any]:
        return [own[one] for own, one in zip(of_roles, triplet, strict=True) if one != NO_CLASS]


def shared_caption_loss(image: Tensor, text: Tensor, scale: Tensor, caption: Tensor) -> Tensor:
    """CLIP's contrastive loss of n pairs (n, T) of unit vectors, where rows that share a caption are positives.

    With 24 relations a batch holds the same words many times; calling those negatives would push equal texts apart.
    ``caption`` (n,) is the caption number of each row; the target of a row spreads over the rows that have its caption.
    """
    same = (caption[:, None] == caption[None, :]).float()
    target = same / same.sum(dim=1, keepdim=True)
    of_images = nn.functional.cross_entropy(scale * image @ text.T, target)
    return (of_images + nn.functional.cross_entropy(scale * text @ image.T, target)) / 2


class CropBatch(NamedTuple):
    """Pixels (n, 3, s, s) uint8 and the triplets (n, 3) that are their captions, with NO_CLASS for what is not said.

    ``pairs`` (k,) are the rows of crops of pairs, ``rivals`` (k, 1 + RIVALS, 3) the caption of each and those of the
    same things with other relations.
    """

    pixels: Tensor
    captions: np.ndarray
    pairs: np.ndarray
    rivals: np.ndarray


class ContrastiveObjective(nn.Module):
    """Two losses of a batch: each crop against all captions, each pair of things against its own other relations."""

    def __init__(self, network: "CustomTextCLIP", captions: Captions):
        super().__init__()
        self.network, self.captions = network, captions

    def forward(self, batch: CropBatch, step: int) -> dict[str, Tensor]:
        """The losses; each distinct text is read once."""
        device, count = self.network.logit_scale.device, len(batch.captions)
        said = np.concatenate([batch.captions, batch.rivals.reshape(-1, 3)])
        distinct, inverse = np.unique(said, axis=0, return_inverse=True)
        number = torch.from_numpy(inverse.reshape(-1)).to(device)
        image_vectors = _encoded(self.network, batch.pixels.to(device))
        # Convolutions pay in bfloat16 where the hardware has it; the short text contexts do not.
        with full_precision(device):
            vectors = self.network.encode_text(self.captions.tokens(distinct).to(device), normalize=True)[number]
            scale = self.network.logit_scale.exp()
            losses = {"contrastive": shared_caption_loss(image_vectors, vectors[:count], scale, number[:count])}
            if len(batch.pairs):
                rivals = vectors[count:].view(*batch.rivals.shape[:2], -1)  # (k, 1 + RIVALS, T)
                of_pairs = image_vectors[torch.from_numpy(batch.pairs).to(device)]
                scores = scale * torch.einsum("kt,krt->kr", of_pairs, rivals)
                losses["relation"] = -scores.log_softmax(dim=1)[:, 0].mean()
            return losses

    @torch.no_grad()
    def after_step(self) -> None:
        """Keep the temperature within CLIP's bound."""
        self.network.logit_scale.clamp_(0, LARGEST_LOGIT_SCALE)


class _CropBatches:
    """``batches(step, part, parts)``: crops and their captions, every crop once an epoch, half of them mirrored."""

    def __init__(self, pixels: Tensor, triplets: np.ndarray, vocabulary: Vocabulary, config: TowerConfig):
        self.pixels, self.triplets, self.config = pixels, triplets, config
        self.steps_per_epoch = math.ceil(len(pixels) / config.batch_size)
        names = vocabulary.relations
        self._relations = len(names)
        # What a relation is called in the mirror; NO_CLASS, the last, stays.
        turned = [MIRRORED.get(name, name) for name in names]
        self._mirrored = np.array([names.index(name) if name in names else NO_CLASS for name in (*turned, "")])

    def __call__(self, step: int, part: int, parts: int) -> CropBatch:
        epoch, within = divmod(step, self.steps_per_epoch)
        order = np.array_split(self._order(epoch), self.steps_per_epoch)[within]
        rows = np.array_split(order, parts)[part]
        rng = generator(self.config.seed, "tower captions", step, part)
        pixels, triplets = self.pixels[torch.from_numpy(rows)], self.triplets[rows].copy()
        turned = self._mirrored[triplets[:, 1]]
        mirrored = (rng.random(len(rows)) < 0.5) & ((turned != NO_CLASS) | (triplets[:, 1] == NO_CLASS))
        triplets[mirrored, 1] = turned[mirrored]
        where = torch.from_numpy(mirrored)
        pixels[where] = pixels[where].flip(-1)
        pairs = np.flatnonzero(triplets[:, 1] != NO_CLASS)
        rivals = np.repeat(triplets[pairs, None], 1 + min(RIVALS, self._relations - 1), axis=1)
        shift = rng.permuted(np.tile(np.arange(1, self._relations), (len(pairs), 1)), axis=1)[:, :RIVALS]
        rivals[:, 1:, 1] = (rivals[:, 1:, 1] + shift) % self._relations
        alone = pairs[rng.random(len(pairs)) < RELATION_ALONE]
        triplets[alone[:, None], [0, 2]] = NO_CLASS
        return CropBatch(pixels, triplets, pairs, rivals)

    @functools.lru_cache(maxsize=2)  # noqa: B019
    def _order(self, epoch: int) -> np.ndarray:
        return generator(self.config.seed, "tower order", epoch).permutation(len(self.pixels))


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

    A pair may truly have two relations, so 1.0 is out of reach. "Blind" is what the names alone give away: every crop
    has the mean vector of all.
    """
    rows = np.flatnonzero(triplets[:, 1] >= 0)
    if not len(rows):
        return {}
    relations = len(vocabulary.relations)
    captions = [vocabulary.caption(triplets[row, 0], r, triplets[row, 2]) for row in rows for r in range(relations)]
    distinct, where = np.unique(captions, return_inverse=True)
    vectors = encoder.embed(distinct.tolist())[where].reshape(len(rows), relations, -1)
    scores = np.einsum("nt,nrt->nr", image_vectors[rows], vectors)
    blind = np.einsum("t,nrt->nr", image_vectors[rows].mean(axis=0), vectors)
    right, guessed = (float((_place_of(each, triplets[rows, 1]) < 1).mean()) for each in (scores, blind))
    return {"relation_recall_at_1": right, "relation_recall_blind": guessed, "relation_chance_at_1": 1.0 / relations}


def _place_of(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """How many candidates score strictly higher than the right one, (n,)."""
    return (scores > np.take_along_axis(scores, right[:, None], axis=1)).sum(axis=1)


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
    weights = {name: value.detach().cpu().half() for name, value in model.text.state_dict().items()}
    digest = hashlib.sha256(b"".join(weights[name].numpy().tobytes() for name in sorted(weights))).hexdigest()
    text_config = {**config["text_cfg"], "vocab_size": len(token_ids)}
    identity = {"encoder": f"small open_clip {digest[:12]}", "token_ids": token_ids}
    return CaptionEncoder.from_clip_weights({**config, "text_cfg": text_config, **identity}, weights)
