"""Classes with exact counts, dependent on their surroundings.

Classes lie in segments along a line, frequent ones in many places and rare ones in one. What is to be labelled is
sorted by a latent position and takes the class of the segment on which it comes to lie: neighbours share few classes,
and each class gets as many examples as its segments are long.
"""

from dataclasses import dataclass

import numpy as np

UNLABELLED = -1


@dataclass(frozen=True)
class ClassLine:
    """``classes`` (S,) of the segments in line order, and ``parts`` (K,) the number of segments of each class."""

    classes: np.ndarray
    parts: np.ndarray

    @classmethod
    def drawn(cls, random: np.random.Generator, counts: np.ndarray, segments: int) -> "ClassLine":
        """About ``segments`` segments shared out by ``counts`` (K,), at least one a class; a class's lie far apart."""
        parts = np.maximum(1, (segments * counts / counts.sum()).astype(np.int64))
        classes = np.repeat(np.arange(len(counts)), parts)
        part = np.arange(len(classes)) - np.repeat(np.cumsum(parts) - parts, parts)
        position = (part + random.random(len(classes))) / parts[classes]
        # A class's first segment is not always the first on the line: the line is a circle, begun anywhere.
        position = (position + random.random(len(counts))[classes]) % 1
        return cls(classes[np.argsort(position, kind="stable")], parts)

    def lengths(self, counts: np.ndarray) -> np.ndarray:
        """How long each segment (S,) is where the classes have ``counts`` (K,) examples."""
        order = np.argsort(self.classes, kind="stable")
        part = np.arange(len(order)) - np.repeat(np.cumsum(self.parts) - self.parts, self.parts)
        of_class, parts = counts[self.classes[order]], self.parts[self.classes[order]]
        lengths = np.empty(len(order), dtype=np.int64)
        lengths[order] = of_class * (part + 1) // parts - of_class * part // parts
        return lengths


def classes_of_boxes(
    random: np.random.Generator, line: ClassLine, counts: np.ndarray, position: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Label boxes so that no class but the most frequent ends more relations than ``counts`` (K,) says.

    ``position`` (B,) on the line and ``ends`` (B,), the relations that a box ends, which sum to ``counts.sum()``.
    Returns the classes (B,) and what each class lacks (K,); the most frequent has the sum of that too many, since
    a box cannot be shared.
    """
    labels = np.full(len(position), UNLABELLED)
    head = int(np.argmax(counts))
    _label(labels, np.argsort(position, kind="stable"), ends, line.classes, line.lengths(counts))
    # Boxes that lay across two segments get a second try on what is left of the classes, the rare ones first.
    left = counts - _ends_of_class(labels, ends, len(counts))
    by_count = np.argsort(counts, kind="stable")
    _label(labels, random.permutation(np.flatnonzero(labels == UNLABELLED)), ends, by_count, left[by_count])
    labels[labels == UNLABELLED] = head
    lacking = counts - _ends_of_class(labels, ends, len(counts))
    lacking[head] = 0
    return labels, lacking


def classes_of_relations(line: ClassLine, counts: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Label relations: those in ``order`` (N,) along the line take its classes; (N,) with exactly ``counts`` (K,)."""
    labels = np.empty(len(order), dtype=np.int64)
    labels[order] = np.repeat(line.classes, line.lengths(counts))
    return labels


def _label(labels: np.ndarray, order: np.ndarray, ends: np.ndarray, classes: np.ndarray, lengths: np.ndarray) -> None:
    """Label the boxes of ``order``, laid one after the other, that lie within one segment."""
    stop = np.cumsum(ends[order])
    start = stop - ends[order]
    borders = np.cumsum(lengths)
    first, last = np.searchsorted(borders, start, side="right"), np.searchsorted(borders, stop - 1, side="right")
    within = (first == last) & (last < len(classes))
    labels[order[within]] = classes[first[within]]


def _ends_of_class(labels: np.ndarray, ends: np.ndarray, classes: int) -> np.ndarray:
    labelled = labels != UNLABELLED
    return np.bincount(labels[labelled], weights=ends[labelled], minlength=classes).astype(np.int64)
