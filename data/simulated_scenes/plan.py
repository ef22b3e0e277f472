"""The plan of a simulated split: images, boxes with classes, relations; everything but the coordinates.

Classes lie in segments along a line, frequent ones in many places and rare ones in one. What is to be labelled is
sorted by a latent position and takes the class of the segment on which it comes to lie: so neighbours share few
classes, triplets repeat as real ones do, and each class of train gets exactly the examples that it should have.
"""

from dataclasses import dataclass, replace

import numpy as np

from workbench.errors import WorkbenchError
from workbench.randomness import generator
from workbench.scenes.relations import distinct_triplets

RELATIONS_SPREAD = 0.75  # standard deviation of the logarithm of relations an image
BOXES_EXPONENT = 0.6  # boxes grow slower than relations: crowded images are related more densely
BOXES_PER_SEGMENT = 80  # of the line of object classes: fewer make images more varied
RELATIONS_PER_SEGMENT = 2000
TOPIC_SPREAD = 5.0e-4  # how far an image's boxes lie apart on the line of object classes, as a share of it
PAIR_SPREAD = 2.0e-4  # the same for relations of one pair of object classes
STEEPEST = 60.0


@dataclass(frozen=True)
class SimulatedSize:
    """Images of each split, boxes and relations of train, classes, and how often train has the extreme ones.

    The other splits have as many relations and boxes an image as train.
    """

    images: dict[str, int]
    boxes: int
    relations: int
    object_classes: int
    relation_classes: int
    object_extremes: tuple[int, int]
    relation_extremes: tuple[int, int]

    def scaled(self, scale: float) -> "SimulatedSize":
        """``scale`` times the images, relations and boxes; classes and the rarest classes' counts stay."""
        if not 0 < scale <= 1:
            raise WorkbenchError(f"scale {scale:g}: expected a number above 0, at most 1.")
        return replace(
            self,
            images={split: max(1, round(scale * count)) for split, count in self.images.items()},
            boxes=round(scale * self.boxes),
            relations=round(scale * self.relations),
            object_extremes=(max(1, round(scale * self.object_extremes[0])), self.object_extremes[1]),
            relation_extremes=(max(1, round(scale * self.relation_extremes[0])), self.relation_extremes[1]),
        )


# Images, most and least frequent classes: DiffAugment, section 4.1, where 374,282 relations end at the most frequent
# object; relations and boxes, not printed there, are the unions and boxes of a feature store of GQA-LT.
SIZES = {
    "gqa-lt": SimulatedSize(
        images={"train": 72_580, "val": 2_573, "test": 7_722},
        boxes=1_200_000,
        relations=3_400_000,
        object_classes=1_702,
        relation_classes=310,
        object_extremes=(66_050, 1),
        relation_extremes=(1_692_068, 2),
    )
}


@dataclass(frozen=True)
class SplitPlan:
    """``image_of_box`` (B,) ascending, ``object_class`` (B,); ``image`` (N,) ascending, ``subject_box`` and
    ``object_box`` (N,) rows of the boxes, ``relation`` (N,) classes; ``images``, their number.
    """

    images: int
    image_of_box: np.ndarray
    object_class: np.ndarray
    image: np.ndarray
    subject_box: np.ndarray
    object_box: np.ndarray
    relation: np.ndarray

    def distinct_triplets(self) -> int:
        """How many different (subject, relation, object) triplets of classes the split has."""
        subject, object_ = self.object_class[self.subject_box], self.object_class[self.object_box]
        return len(distinct_triplets(subject, self.relation, object_)[0])


def plan_split(size: SimulatedSize, split: str, seed: int) -> SplitPlan:
    """A function of (size, split, seed): train has exactly the counts, other splits are drawn from them."""
    random = generator(seed, "simulated annotations", split)
    images = size.images[split]
    share = images / size.images["train"]
    weights = np.exp(RELATIONS_SPREAD * random.standard_normal(images))
    more = max(images, round(share * size.relations)) - images
    per_image = 1 + random.multinomial(more, weights / weights.sum())
    boxes_of = _boxes_of(per_image, share * size.boxes)
    image_of_box = np.repeat(np.arange(images), boxes_of)
    image, subject_box, object_box = _pairs(random, per_image, boxes_of)
    exact = split == "train"
    boxes = len(image_of_box) if exact else size.boxes
    objects = long_tailed_counts(size.object_classes, *size.object_extremes, boxes)
    relations = long_tailed_counts(size.relation_classes, *size.relation_extremes, size.relations)
    topic = random.random(images)[image_of_box] + TOPIC_SPREAD * random.standard_normal(len(image_of_box))
    object_class = _labels(generator(seed, "objects"), random, objects, topic, BOXES_PER_SEGMENT, exact)
    of_subject, of_object = generator(seed, "pairs").random((2, size.object_classes))
    position = (of_subject[object_class[subject_box]] + of_object[object_class[object_box]]) % 1
    position += PAIR_SPREAD * random.standard_normal(len(position))
    relation = _labels(generator(seed, "relations"), random, relations, position, RELATIONS_PER_SEGMENT, exact)
    return SplitPlan(images, image_of_box, object_class, image, subject_box, object_box, relation)


def long_tailed_counts(classes: int, most: int, least: int, total: int) -> np.ndarray:
    """Counts (classes,) int64, descending, from about ``most`` to ``least``, that sum to ``total``.

    The curve is the two-sided power law of ranks (Lavalette; Martinez-Mekler et al. 2009), c (K + 1 - k)^b / k^a: a
    power law at the head and a cliff at the rare end, as closed vocabularies have. The extremes fix c and a + b, the
    sum fixes a; where that would take the middle below ``least``, it stays there.
    """
    largest, smallest = (int(_curve(classes, most, least, a).sum()) for a in (0.0, STEEPEST))
    if not smallest <= total <= largest:
        raise WorkbenchError(
            f"{classes} classes with {least:,} to {most:,} examples cannot have {total:,} in all; expected "
            f"{smallest:,} to {largest:,}. Another scale gives another sum."
        )
    flattest, steepest = 0.0, STEEPEST
    for _ in range(100):
        middle = (flattest + steepest) / 2
        above = _curve(classes, most, least, middle).sum() > total
        flattest, steepest = (middle, steepest) if above else (flattest, middle)
    curve = _curve(classes, most, least, flattest)
    # Rounding the running sum, not the values, keeps the total; a class may then exceed its predecessor by one.
    counts = np.diff(np.round(np.cumsum(curve) * (total / curve.sum())).astype(np.int64), prepend=0)
    return np.sort(counts)[::-1].copy()


def _curve(classes: int, most: int, least: int, a: float) -> np.ndarray:
    rank = np.arange(1, classes + 1)
    b = np.log(most / least) / np.log(classes) - a
    logarithm = b * np.log((classes + 1 - rank) / classes) - a * np.log(rank)
    return np.maximum(least, most * np.exp(np.minimum(logarithm, 0)))


def _boxes_of(per_image: np.ndarray, total: float) -> np.ndarray:
    """Boxes of each image, about ``total``: enough for distinct pairs, no more than its relations can join."""
    fewest, most = np.ceil(0.5 + np.sqrt(0.25 + per_image)).astype(np.int64), per_image + 1
    shape, factor = per_image**BOXES_EXPONENT, 1.0
    for _ in range(20):  # bounds change the sum, so scale and cut again
        numbers = np.clip(np.round(factor * shape).astype(np.int64), fewest, most)
        factor *= total / numbers.sum()
    return numbers


def _pairs(
    random: np.random.Generator, per_image: np.ndarray, boxes_of: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, subject box and object box of each relation: no pair twice in an image, every box in a pair."""
    image = np.repeat(np.arange(len(per_image)), per_image)  # (N,)
    place = np.arange(len(image)) - np.repeat(np.cumsum(per_image) - per_image, per_image)
    here, first_box = boxes_of[image], (np.cumsum(boxes_of) - boxes_of)[image]
    subject = place % here
    object_ = (subject + 1 + place // here) % here  # each round of the boxes with another distance
    swapped = (random.random(len(per_image)) < 0.5)[image]
    return image, first_box + np.where(swapped, object_, subject), first_box + np.where(swapped, subject, object_)


def _labels(
    line: np.random.Generator,
    random: np.random.Generator,
    counts: np.ndarray,
    position: np.ndarray,
    per_segment: int,
    exact: bool,
) -> np.ndarray:
    """A class for each ``position`` (n,): exactly ``counts`` (K,) of each, or drawn from their distribution."""
    parts = np.maximum(1, counts // per_segment)
    segments = line.permutation(np.repeat(np.arange(len(counts)), parts))
    if not exact:
        counts = random.multinomial(len(position), counts / counts.sum())
    by_class = np.argsort(segments, kind="stable")
    part = np.arange(len(segments)) - np.repeat(np.cumsum(parts) - parts, parts)
    of_class, parts_of = counts[segments[by_class]], parts[segments[by_class]]
    lengths = np.empty(len(segments), dtype=np.int64)
    lengths[by_class] = of_class * (part + 1) // parts_of - of_class * part // parts_of
    labels = np.empty(len(position), dtype=np.int64)
    labels[np.argsort(position, kind="stable")] = np.repeat(segments, lengths)
    return labels
