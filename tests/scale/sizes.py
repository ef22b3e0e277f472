"""How large the data sets are that a simulation imitates."""

from dataclasses import dataclass, replace

from workbench.errors import WorkbenchError


@dataclass(frozen=True)
class SimulatedSize:
    """Pictures of each split, relations and boxes of train, classes, and how often train has the extreme classes.

    An object class is counted once for each relation that it ends, as ``workbench.scenes.bands`` counts it. The other
    splits have as many relations and boxes a picture as train. ``distinct_triplets`` says what train roughly has;
    nothing is fitted to it.
    """

    images: dict[str, int]
    train_relations: int
    train_boxes: int
    object_classes: int
    relation_classes: int
    most_frequent_object: int
    least_frequent_object: int
    most_frequent_relation: int
    least_frequent_relation: int
    distinct_triplets: int

    def scaled(self, scale: float) -> "SimulatedSize":
        """``scale`` times the pictures, relations and boxes; classes and the rarest classes' counts stay."""
        if not 0 < scale <= 1:
            raise WorkbenchError(f"scale {scale:g}: expected a number above 0, at most 1.")
        most_frequent = (self.most_frequent_object, self.most_frequent_relation)
        most_frequent_object, most_frequent_relation = (max(1, round(scale * count)) for count in most_frequent)
        return replace(
            self,
            images={split: max(1, round(scale * count)) for split, count in self.images.items()},
            train_relations=round(scale * self.train_relations),
            train_boxes=round(scale * self.train_boxes),
            most_frequent_object=most_frequent_object,
            most_frequent_relation=most_frequent_relation,
        )

    def with_classes(self, objects: int, relations: int) -> "SimulatedSize":
        """The same with other numbers of classes."""
        return replace(self, object_classes=objects, relation_classes=relations)

    def of_split(self, split: str) -> tuple[int, int, int]:
        """Pictures, relations and boxes of a split."""
        images = self.images[split]
        share = images / self.images["train"]
        relations = max(images, round(share * self.train_relations))
        return images, relations, round(share * self.train_boxes)


# Pictures, extremes: DiffAugment, section 4.1. Relations and boxes are not printed there: about 3.4 M and 1.2 M, the
# unions and boxes of a feature store of GQA-LT. The list of names has 1,702 objects beside the unknown one.
SIZES = {
    "gqa-lt": SimulatedSize(
        images={"train": 72_580, "val": 2_573, "test": 7_722},
        train_relations=3_400_000,
        train_boxes=1_200_000,
        object_classes=1_702,
        relation_classes=310,
        most_frequent_object=374_282,
        least_frequent_object=1,
        most_frequent_relation=1_692_068,
        least_frequent_relation=2,
        distinct_triplets=400_000,
    )
}


def known_size(like: str) -> SimulatedSize:
    """The size called ``like``; WorkbenchError names those that exist."""
    if like not in SIZES:
        raise WorkbenchError(f"like {like!r} is not known; expected one of {', '.join(SIZES)}.")
    return SIZES[like]
