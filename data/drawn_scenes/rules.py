"""The relations: how often they occur, who may stand in them, and which follow from which."""

from functools import cache

import numpy as np

from drawn_scenes.catalogue import OBJECT_NAMES, members

LEFT, RIGHT = "to the left of", "to the right of"
# In the order of their training frequency; the two mirror relations dominate.
RELATION_NAMES: tuple[str, ...] = (
    LEFT,
    RIGHT,
    "on",
    "wearing",
    "behind",
    "in front of",
    "holding",
    "near",
    "under",
    "above",
    "next to",
    "inside",
    "sitting on",
    "standing on",
    "riding",
    "below",
    "carrying",
    "hanging from",
    "lying on",
    "leaning on",
    "covering",
    "pulling",
    "eating",
    "pushing",
    "kicking",
)
ANY_PAIR = ("behind", "in front of", "near", "next to", "above", "below", LEFT, RIGHT)

_PEOPLE = members("people")
_GROWN = tuple(name for name in _PEOPLE if name != "baby")
_ANIMALS, _BIRDS = members("four-legged animals"), members("birds")
_PETS = ("dog", "cat", "sheep", "goat", "lion", "tiger")
_FRUIT, _BAKED, _VESSELS = members("fruit"), members("baked goods"), members("vessels")
_CUTLERY, _CLOTHING, _ELECTRONICS = members("cutlery"), members("clothing"), members("electronics")
_FLOWERS = ("flower", "sunflower", "daisy")
_BALLS = ("ball", "soccer ball", "frisbee")
_SMALL = (*_FRUIT, *_BAKED, *_VESSELS, *_CUTLERY, *_BALLS)
_SEATS = ("chair", "bench", "couch", "bed", "table", "box")
_CARRIERS = ("table", "bench", "bed", "couch", "chair", "cabinet", "bookcase", "box")
_CLOTH = ("shirt", "jacket", "coat", "scarf", "skirt")
_LONG_GEAR = ("racket", "bat", "surfboard", "kite")
_MOUNTS = (
    "horse",
    "zebra",
    "cow",
    "elephant",
    "giraffe",
    "sheep",
    "goat",
    "deer",
    "lion",
    "tiger",
    "bicycle",
    "motorcycle",
    "skateboard",
)
_HEAD_WEAR = ("hat", "cap", "helmet", "scarf")

Block = tuple[tuple[str, ...], tuple[str, ...]]
RULES: dict[str, tuple[Block, ...]] = {
    **{relation: ((OBJECT_NAMES, OBJECT_NAMES),) for relation in ANY_PAIR},
    "on": (
        ((*_SMALL, *_ELECTRONICS, *members("bags"), *_CLOTHING, "plant", "racket"), _CARRIERS),
        (_BIRDS, (*_CARRIERS, "car", "taxi", "bus", "truck", "boat", "house")),
    ),
    "wearing": ((_PEOPLE, _CLOTHING), ((*_ANIMALS, *_BIRDS), _HEAD_WEAR)),
    "holding": (
        (_GROWN, (*_SMALL, *_FLOWERS, *_LONG_GEAR, "bag", "purse", "radio", "skateboard", "hat", "cap")),
        (("baby",), (*_FRUIT, "cup", "ball", "spoon")),
    ),
    "under": (
        (
            (*_PETS, *_BIRDS, *_SMALL, "baby", "boy", "girl", "bag", "backpack", "purse", "box", "skateboard"),
            ("table", "bench", "chair"),
        ),
        (
            (*_PEOPLE, *_ANIMALS, *_BIRDS, "bench", "chair", "table", "car", "bicycle", "motorcycle"),
            ("tree", "palm tree"),
        ),
    ),
    "inside": (
        ((*_FLOWERS, *_CUTLERY), ("vase", "jar", "cup", "mug", "pitcher", "bucket", "bowl", "box", "bag")),
        ((*_FRUIT, *_BAKED), ("bowl", "bucket", "box", "bag", "jar", "cup", "mug")),
        (
            (
                "cat",
                "dog",
                "duck",
                "chicken",
                "goose",
                "owl",
                "bottle",
                "ball",
                "soccer ball",
                "baby",
                "plant",
                "bat",
                "racket",
            ),
            ("box", "bucket", "bag"),
        ),
    ),
    "sitting on": (((*_PEOPLE, *_PETS, *_BIRDS), _SEATS),),
    "standing on": (
        (
            (*_GROWN, "dog", "cat", "goat", "sheep", *_BIRDS),
            ("table", "bench", "box", "chair", "bed", "couch", "skateboard", "boat", "cabinet"),
        ),
        (("man", "boy", "girl", "cat", "goat", *_BIRDS), ("car", "taxi", "bus", "truck")),
    ),
    "riding": (
        (_PEOPLE, _MOUNTS),
        (("dog", "cat", *_BIRDS), ("skateboard", "bicycle", "motorcycle", "horse", "elephant")),
    ),
    "carrying": (
        (
            _GROWN,
            (
                *members("bags"),
                "bucket",
                "surfboard",
                "skateboard",
                "cat",
                "dog",
                "sheep",
                "duck",
                "chicken",
                "goose",
                "baby",
                "television",
                "radio",
                "toaster",
                "microwave",
                "computer",
                "cake",
                "plant",
                "kettle",
                "vase",
                "pineapple",
            ),
        ),
    ),
    "hanging from": (
        (
            (
                *_CLOTH,
                "hat",
                "cap",
                "helmet",
                "bag",
                "purse",
                "backpack",
                "bucket",
                "apple",
                "orange",
                "banana",
                "lemon",
                "pear",
                "kite",
                "mug",
                "kettle",
            ),
            ("tree", "palm tree", "cabinet", "bookcase", "house", "lighthouse"),
        ),
    ),
    "lying on": (((*_PEOPLE, *_PETS, "cow", "deer"), ("bed", "couch", "bench", "table")),),
    "leaning on": (
        (
            (*_LONG_GEAR, "man", "woman", "boy", "girl", "soldier", "chef", "skateboard"),
            (
                "tree",
                "palm tree",
                "house",
                "table",
                "cabinet",
                "bookcase",
                "couch",
                "car",
                "truck",
                "bus",
                "tower",
                "castle",
                "lighthouse",
                "box",
            ),
        ),
    ),
    "covering": (
        (
            (*_CLOTH, "hat"),
            (
                "chair",
                "couch",
                "bench",
                "bed",
                "table",
                "box",
                "car",
                "taxi",
                *_ELECTRONICS,
                "bicycle",
                "motorcycle",
                "bowl",
                "bucket",
            ),
        ),
    ),
    "pulling": (
        (
            (*_GROWN, "horse", "cow", "elephant", "dog"),
            ("car", "taxi", "boat", "box", "truck", "skateboard", "bed", "couch", "table"),
        ),
        (_GROWN, ("dog", "cow", "goat", "sheep", "horse", "elephant", "kite")),
        (("tractor", "truck", "car"), ("boat", "car", "taxi", "truck", "box")),
    ),
    "eating": (
        (((*_PEOPLE, *_ANIMALS, *_BIRDS)), (*_FRUIT, *_BAKED)),
        (("horse", "zebra", "cow", "sheep", "goat", "giraffe", "deer", "elephant"), ("bush", "plant", *_FLOWERS)),
    ),
    "pushing": (
        (
            (*_GROWN, "elephant"),
            (
                "car",
                "taxi",
                "bus",
                "truck",
                "motorcycle",
                "bicycle",
                "boat",
                "box",
                "couch",
                "table",
                "bed",
                "cabinet",
                "chair",
                "bookcase",
            ),
        ),
    ),
    "kicking": ((_GROWN, ("ball", "soccer ball", "bucket", "box", "bottle", "apple", "orange", "jar")),),
}
# What else may be said of a pair that was laid out for the first relation; "swapped" ones turn the pair round.
ALSO: dict[str, tuple[str, ...]] = {
    "riding": ("on",),
    "sitting on": ("on",),
    "standing on": ("on",),
    "lying on": ("on",),
    "covering": ("on",),
    "on": ("above",),
    "under": ("below",),
    "next to": ("near",),
    "leaning on": ("next to",),
    "kicking": ("near",),
    "carrying": ("holding",),
    "hanging from": ("below",),
}
ALSO_SWAPPED: dict[str, tuple[str, ...]] = {
    "behind": ("in front of",),
    "in front of": ("behind",),
    "above": ("below",),
    "below": ("above",),
    "next to": ("next to",),
    "near": ("near",),
}


@cache
def allowed(relation: str) -> np.ndarray:
    """Which (subject, object) pairs an image may be laid out for: (C, C) bool over ``OBJECT_NAMES``."""
    index = {name: position for position, name in enumerate(OBJECT_NAMES)}
    table = np.zeros((len(OBJECT_NAMES), len(OBJECT_NAMES)), dtype=bool)
    for subjects, objects in RULES[relation]:
        table[np.ix_([index[name] for name in subjects], [index[name] for name in objects])] = True
    np.fill_diagonal(table, False)
    table.setflags(write=False)
    return table


def possible(subject: str, relation: str, object_: str) -> bool:
    """Whether an annotation can say this: by a rule, or because it follows from another relation of the pair."""
    s, o = OBJECT_NAMES.index(subject), OBJECT_NAMES.index(object_)
    if allowed(relation)[s, o]:
        return True
    return any(relation in also and allowed(first)[s, o] for first, also in ALSO.items()) or any(
        relation in also and allowed(first)[o, s] for first, also in ALSO_SWAPPED.items()
    )
