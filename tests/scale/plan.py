"""The plan of a simulated split: pictures, boxes with classes, relations; everything but the coordinates."""

from dataclasses import dataclass

import numpy as np

from tests.scale.classes import ClassLine, classes_of_boxes, classes_of_relations
from tests.scale.frequencies import drawn_counts, long_tailed_counts
from tests.scale.graphs import RelationGraphs, relation_graphs
from tests.scale.sizes import SimulatedSize
from workbench.randomness import generator
from workbench.scenes.annotations import SPLITS

RELATION_ENDS_PER_SEGMENT = 400  # of object classes: fewer make pictures more varied
RELATIONS_PER_SEGMENT = 2000
TOPIC_SPREAD = 2.0e-4  # how far a picture's boxes lie apart on the line of object classes, as a share of it
PAIR_SPREAD = 1.0e-4  # the same for relations of one pair of object classes
REPEATS_ROUNDS = 100
SWAP_DISTANCE = 200


@dataclass(frozen=True)
class SplitPlan:
    """``image_of_box`` (B,) ascending, ``object_class`` (B,); ``image`` (N,) ascending, ``subject_box`` and
    ``object_box`` (N,) rows of the boxes, ``relation`` (N,) classes; ``images``, the number of pictures.
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
        classes = int(self.object_class.max()) + 1
        subject, object_ = self.object_class[self.subject_box], self.object_class[self.object_box]
        return len(np.unique((self.relation * classes + subject) * classes + object_))


class SimulationPlan:
    """What all splits share: class counts of train, and the lines of classes. A function of (size, seed)."""

    def __init__(self, size: SimulatedSize, seed: int):
        self.size, self.seed = size, seed
        _, relations, _ = size.of_split("train")
        extremes = size.most_frequent_object, size.least_frequent_object
        self.object_counts = long_tailed_counts(size.object_classes, *extremes, 2 * relations)
        extremes = size.most_frequent_relation, size.least_frequent_relation
        self.relation_counts = long_tailed_counts(size.relation_classes, *extremes, relations)
        self._object_line = ClassLine.drawn(
            self._random("object line"), self.object_counts, 2 * relations // RELATION_ENDS_PER_SEGMENT
        )
        self._relation_line = ClassLine.drawn(
            self._random("relation line"), self.relation_counts, relations // RELATIONS_PER_SEGMENT
        )
        self._of_subject = self._random("subjects").random(size.object_classes)
        self._of_object = self._random("objects").random(size.object_classes)

    def split(self, split: str) -> SplitPlan:
        """The plan of one split; train has exactly the counts, the others are drawn from their distribution."""
        if split not in SPLITS:
            raise ValueError(f"split {split!r}: expected one of {SPLITS}")
        random = self._random(split)
        images, relations, boxes = self.size.of_split(split)
        graphs = relation_graphs(random, images, relations, boxes)
        objects, labels = self.object_counts, self.relation_counts
        if split != "train":
            objects, labels = drawn_counts(random, objects, 2 * relations), drawn_counts(random, labels, relations)
        graphs, object_class = self._with_classes(random, graphs, objects)
        relation = self._relations(random, graphs, object_class, labels)
        return SplitPlan(images, graphs.image_of_box, object_class, graphs.image, *_ends(graphs), relation)

    def _with_classes(
        self, random: np.random.Generator, graphs: RelationGraphs, counts: np.ndarray
    ) -> tuple[RelationGraphs, np.ndarray]:
        ends = np.bincount(np.concatenate(_ends(graphs)), minlength=len(graphs.image_of_box))
        topic = random.random(int(graphs.image[-1]) + 1)
        position = topic[graphs.image_of_box] + TOPIC_SPREAD * random.standard_normal(len(ends))
        object_class, lacking = classes_of_boxes(random, self._object_line, counts, position, ends)
        return _with_lacking(random, graphs, object_class, lacking, head=int(np.argmax(counts)))

    def _relations(
        self, random: np.random.Generator, graphs: RelationGraphs, object_class: np.ndarray, counts: np.ndarray
    ) -> np.ndarray:
        subject, object_ = (object_class[boxes] for boxes in _ends(graphs))
        position = (self._of_subject[subject] + self._of_object[object_]) % 1
        order = np.argsort(position + PAIR_SPREAD * random.standard_normal(len(position)), kind="stable")
        relation = classes_of_relations(self._relation_line, counts, order)
        return _without_repeats(random, graphs, relation, order)

    def _random(self, purpose: str) -> np.random.Generator:
        return generator(self.seed, "simulated annotations", purpose)


def _ends(graphs: RelationGraphs) -> tuple[np.ndarray, np.ndarray]:
    return graphs.subject_box, graphs.object_box


def _with_lacking(
    random: np.random.Generator, graphs: RelationGraphs, object_class: np.ndarray, lacking: np.ndarray, head: int
) -> tuple[RelationGraphs, np.ndarray]:
    """Give some ends of the most frequent class a box of their own, of a class that lacks ends."""
    ends = np.stack(_ends(graphs), axis=1).reshape(-1)  # (2 N,) subject, object, subject, ...
    wanted = np.repeat(np.arange(len(lacking)), lacking)
    chosen = random.permutation(np.flatnonzero(object_class[ends] == head))[: len(wanted)]
    ends[chosen] = len(object_class) + np.arange(len(wanted))
    object_class = np.concatenate([object_class, wanted])
    image_of_box = np.concatenate([graphs.image_of_box, graphs.image[chosen // 2]])
    used = np.bincount(ends, minlength=len(object_class)) > 0
    rows = np.flatnonzero(used)
    rows = rows[np.argsort(image_of_box[rows], kind="stable")]
    new_row = np.empty(len(object_class), dtype=np.int64)
    new_row[rows] = np.arange(len(rows))
    ends = new_row[ends]
    return RelationGraphs(image_of_box[rows], graphs.image, ends[0::2], ends[1::2]), object_class[rows]


def _without_repeats(
    random: np.random.Generator, graphs: RelationGraphs, relation: np.ndarray, order: np.ndarray
) -> np.ndarray:
    """``relation`` with labels swapped between neighbours of ``order`` until no pair carries one relation twice.

    A few repeats may stay where a picture has one box pair for many relations.
    """
    pair = graphs.subject_box * len(graphs.image_of_box) + graphs.object_box
    _, group, times = np.unique(pair, return_inverse=True, return_counts=True)
    several = np.flatnonzero(times[group] > 1)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    reach = SWAP_DISTANCE
    for _ in range(REPEATS_ROUNDS):
        key = group[several] * (int(relation.max()) + 1) + relation[several]
        by_key = np.argsort(key, kind="stable")
        again = several[by_key[1:][key[by_key[1:]] == key[by_key[:-1]]]]
        if not len(again):
            break
        partners = order[(rank[again] + random.integers(-reach, reach + 1, len(again))) % len(order)]
        for row, partner in zip(again.tolist(), partners.tolist(), strict=True):
            relation[row], relation[partner] = relation[partner], relation[row]
        # Only pairs that were touched can have a repeat now.
        touched = group[np.concatenate([again, partners])]
        several = np.flatnonzero(np.isin(group, touched[times[touched] > 1]))
        reach = min(2 * reach, len(order))
    return relation
