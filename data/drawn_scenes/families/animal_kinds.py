"""The kinds of four-legged animals: proportions, coats and features."""

from dataclasses import dataclass

from drawn_scenes.palette import Colour
from drawn_scenes.sketch import Point


@dataclass(frozen=True)
class Animal:
    """Proportions (units of the board) and features of one kind, facing right."""

    coat: tuple[Colour, ...]
    length: float = 50
    rump: float = 15
    chest: float = 16
    legs: float = 30
    leg_width: float = 7
    neck: Point = (16, -16)
    neck_width: float = 8
    head: float = 11
    muzzle: Point = (10, 4)
    muzzle_radius: float = 6
    ears: str = "pointed"
    tail: str = "thin"
    hide: str = ""
    crest: str = ""
    headgear: str = ""
    hooves: bool = False
    belly: Colour | None = None


MEMBERS = {
    "dog": Animal(
        ((176, 120, 70), (92, 66, 48), (226, 200, 160), (64, 58, 58), (206, 160, 100)),
        40,
        13,
        14,
        24,
        7,
        (13, -15),
        8,
        12,
        (11, 5),
        6,
        "floppy",
        "up",
        "patches",
    ),
    "cat": Animal(
        ((226, 150, 74), (110, 108, 112), (60, 56, 60), (220, 206, 186), (150, 120, 90)),
        36,
        12,
        11,
        18,
        6,
        (10, -13),
        6,
        12.5,
        (3, 4),
        5,
        "triangles",
        "curl",
        "tabby",
        "whiskers",
    ),
    "horse": Animal(
        ((136, 82, 48), (96, 60, 40), (176, 120, 70), (66, 52, 48), (204, 190, 170)),
        54,
        15,
        16,
        38,
        6.5,
        (20, -28),
        9,
        9.5,
        (14, 10),
        6.5,
        "pointed",
        "flowing",
        "",
        "mane",
        hooves=True,
    ),
    "zebra": Animal(
        ((240, 238, 232), (232, 228, 218)),
        50,
        15,
        15,
        34,
        6.5,
        (17, -24),
        9,
        9.5,
        (13, 9),
        6.5,
        "pointed",
        "tuft",
        "stripes",
        "short mane",
        hooves=True,
    ),
    "cow": Animal(
        ((240, 236, 230), (236, 230, 220), (170, 106, 66)),
        54,
        18,
        18,
        26,
        8,
        (16, -10),
        10,
        11,
        (10, 6),
        8,
        "side",
        "tuft",
        "blotches",
        "udder",
        "horns",
        True,
    ),
    "sheep": Animal(
        ((244, 240, 228), (230, 222, 204)),
        38,
        18,
        18,
        20,
        5.5,
        (20, -9),
        7,
        9.5,
        (7, 5),
        6,
        "side",
        "short",
        "wool",
        belly=(62, 54, 52),
    ),
    "goat": Animal(
        ((222, 214, 200), (160, 130, 100), (120, 104, 96)),
        40,
        13,
        14,
        26,
        5.5,
        (15, -18),
        7,
        9.5,
        (9, 6),
        5.5,
        "side",
        "short",
        "",
        "beard",
        "swept",
        True,
    ),
    "lion": Animal(
        ((222, 170, 92), (206, 150, 78)), 48, 14, 15, 26, 8, (18, -13), 9, 12.5, (8, 5), 7, "round", "tuft", "", "lion"
    ),
    "tiger": Animal(
        ((232, 138, 50), (222, 124, 44)),
        50,
        14,
        15,
        25,
        8,
        (18, -12),
        9,
        12.5,
        (7, 5),
        7,
        "round",
        "ringed",
        "tiger",
        belly=(248, 236, 220),
    ),
    "giraffe": Animal(
        ((236, 200, 122), (226, 186, 104)),
        36,
        12,
        14,
        34,
        5.5,
        (18, -40),
        7,
        8.5,
        (10, 5),
        5.5,
        "side",
        "tuft",
        "patchwork",
        "",
        "ossicones",
        True,
    ),
    "deer": Animal(
        ((178, 120, 72), (160, 100, 58)),
        44,
        12,
        13,
        34,
        5,
        (15, -23),
        6.5,
        9.5,
        (9, 5),
        5,
        "leaf",
        "white",
        "fawn",
        "",
        "antlers",
        True,
        (232, 210, 180),
    ),
    "elephant": Animal(
        ((142, 144, 152), (126, 124, 134), (160, 156, 156)),
        46,
        25,
        24,
        22,
        12,
        (22, -8),
        13,
        17,
        (8, 4),
        9,
        "sails",
        "tuft",
        "",
        "trunk",
    ),
}
