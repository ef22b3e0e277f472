"""Layouts of what people and animals do: stand, sit, lie, ride, wear, hold, carry, kick, eat, pull, push.

Every layout takes (subject, object, generator, scale) and returns a :class:`Group` that shows the relation.
"""

import numpy as np

from drawn_scenes.catalogue import FAMILY_OF, draw_object
from drawn_scenes.families.clothing import MEMBERS as GARMENTS
from drawn_scenes.families.people import WEARING_ARMS
from drawn_scenes.placement import (
    Group,
    Placed,
    drawn,
    evened_scales,
    grounded,
    hand_over,
    resting_on,
    rope,
    scale_for,
    support,
)
from drawn_scenes.pose import Pose


def standing_on(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """Upright on a surface."""
    low = support(object_, rng, scale * (1.25 if object_ == "skateboard" else 0.95))
    upper = drawn(subject, rng, scale * 0.9, Pose("stand"), turn=1)
    return Group([low, resting_on(upper, low, rng)])


def sitting_on(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """Seated on a surface."""
    low = support(object_, rng, scale)
    if FAMILY_OF[subject] == "people":
        upper = drawn(subject, rng, scale * 0.98, Pose("sit"), turn=2)
        return Group([low, resting_on(upper, low, rng, name="seat")])
    upper = drawn(subject, rng, scale * 0.9, Pose("sit"), turn=2)
    return Group([low, resting_on(upper, low, rng)])


def lying_on(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """Flat on a surface."""
    low = support(object_, rng, scale * 1.1)
    if FAMILY_OF[subject] == "people":
        size = scale_for(subject, 0.84 * low.sprite.width, "height")
        upper = drawn(subject, rng, min(size, 1.1 * scale), Pose("stand", arms=((-8, -8), (8, 8))), turn=0).turned(
            rng.choice([-90, 90])
        )
    else:
        upper = drawn(
            subject, rng, min(scale, scale_for(subject, 0.85 * low.sprite.width, "width")), Pose("lie"), turn=1
        )
    placed = resting_on(upper, low, rng)
    placed.top += 0.1 * upper.height
    return Group([low, placed])


def riding(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """Astride a mount, or standing on a board."""
    board = object_ == "skateboard"
    person = FAMILY_OF[subject] == "people"
    mount = grounded(drawn(object_, rng, scale * (1.25 if board else 1.05), Pose(), turn=3, face=1), 0, "object")
    seat = mount.at("back", (0.45, 0.3))
    if person and not board:
        pose = Pose("ride", arms=((24, 62), (38, 74)))
        rider = drawn(
            subject,
            rng,
            min(0.95 * scale, scale_for(subject, 1.15 * mount.sprite.height, "height")),
            pose,
            turn=2,
            face=1,
        )
        x, y = rider.point("seat")
        return Group([mount, Placed(rider, seat[0] - x, seat[1] - y + 3 * scale, "subject", False)])
    pose = Pose("stand", arms=((-70, -80), (70, 80))) if person else Pose("sit")
    size = 0.9 * scale if board else min(0.8 * scale, scale_for(subject, 0.8 * mount.sprite.height, "height"))
    rider = drawn(subject, rng, size, pose, turn=2, face=1).turned(rng.uniform(3, 9))
    return Group(
        [mount, Placed(rider, seat[0] - rider.width / 2, seat[1] - rider.height + 2 * scale, "subject", False)]
    )


def wearing(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """The garment fitted to the wearer."""
    slot = GARMENTS[object_].slot
    person = FAMILY_OF[subject] == "people"
    pose = Pose("stand", arms=WEARING_ARMS if slot == "torso" else (), bare="head" if slot == "head" else slot)
    wearer = grounded(drawn(subject, rng, scale * 1.12, pose, turn=3, view=0.35), 0, "subject")
    garment = draw_object(object_, rng, scale * 1.1)
    anchor = {"head": "head_top", "neck": "neck", "waist": "waist", "torso": "torso"}[slot]
    width = {
        "head": 1.02 * wearer.sprite.length("head_width", 0.4),
        "neck": (0.85 if person else 1.05) * wearer.sprite.length("head_width", 0.4),
        "waist": 0.84 * wearer.sprite.length("shoulder_width", 0.5),
        "torso": 1.06 * wearer.sprite.length("shoulder_width", 0.5),
    }[slot]
    factor = width / garment.length("fit_width", 0.6)
    tall = factor
    if slot == "torso":
        tall = 1.08 * wearer.sprite.length("torso_length", 0.5) / garment.length("fit_length", 0.6)
    garment = garment.resized(factor, tall)
    if slot == "head" and not person:
        garment = garment.turned(rng.uniform(-8, 8))
    x, y = wearer.at(anchor)
    gx, gy = garment.point("fit")
    return Group([wearer, Placed(garment, x - gx, y - gy, "object", False)])


def holding(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """In the outstretched hand."""
    pose = Pose("stand", arms=((-14, -8), (rng.uniform(35, 75), rng.uniform(85, 150))))
    holder = grounded(drawn(subject, rng, scale * 1.08, pose, turn=2, face=1), 0, "subject")
    height = holder.sprite.height
    long = object_ in (
        "racket",
        "bat",
        "surfboard",
        "kite",
        "fork",
        "knife",
        "spoon",
        "butter knife",
        "flower",
        "sunflower",
        "daisy",
    )
    thing = drawn(object_, rng, scale_for(object_, height * (0.5 if long else 0.34), "longest"), turn=3).turned(
        rng.uniform(-5, 25) if long else 0
    )
    x, y = holder.at("hand_right", (0.9, 0.5))
    hold = thing.point("handle", (0.5, 0.8 if long else 0.55))
    return Group(
        [
            holder,
            Placed(thing, x - hold[0] + (0 if long else 0.12 * thing.width), y - hold[1], "object", False),
            hand_over(holder, "hand_right"),
        ]
    )


def carrying(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """In both arms, or overhead."""
    overhead = rng.random() < 0.35
    arms = ((-150, -172), (150, 172)) if overhead else ((38, 78), (-30, -72))
    holder = grounded(drawn(subject, rng, scale * 1.08, Pose("walk", arms=arms), turn=2, face=1), 0, "subject")
    thing = drawn(object_, rng, scale_for(object_, 0.52 * holder.sprite.height, "longest"), turn=3)
    if overhead:
        left, right = holder.at("hand_left"), holder.at("hand_right")
        x, y = (left[0] + right[0]) / 2, (left[1] + right[1]) / 2
        item = Placed(thing, x - thing.width / 2, y - thing.height + 3 * scale, "object", False)
    else:
        x, y = holder.at("chest")
        item = Placed(thing, x - thing.width / 2, y - thing.height / 2, "object", False)
    return Group([holder, item, hand_over(holder, "hand_left"), hand_over(holder, "hand_right")])


def kicking(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """At the tip of a swung leg."""
    kicker = grounded(
        drawn(subject, rng, scale * 1.08, Pose("kick", arms=((-50, -40), (40, 60))), turn=3, face=1), 0, "subject"
    )
    thing = drawn(object_, rng, scale_for(object_, 0.27 * kicker.sprite.height, "longest"), turn=25)
    x, y = kicker.at("foot_1", (1.0, 0.8))
    return Group([kicker, Placed(thing, x + 3 * scale, y - 0.55 * thing.height, "object", False)])


def eating(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """At the mouth."""
    person = FAMILY_OF[subject] == "people"
    down = not person and rng.random() < 0.6
    plant = FAMILY_OF[object_] == "plants"
    pose = Pose("stand", arms=((-14, -10), (58, 196))) if person else Pose("stand", head_down=down)
    eater = grounded(drawn(subject, rng, scale * 1.08, pose, turn=2, face=1), 0, "subject")
    share = 0.27 if person else (0.6 if plant else 0.36)
    thing = drawn(object_, rng, scale_for(object_, share * max(eater.sprite.height, 50 * scale), "longest"), turn=10)
    x, y = eater.at("mouth", (0.9, 0.4))
    if person:
        item = Placed(thing, x - 0.2 * thing.width, y - 0.35 * thing.height, "object", False)
        return Group([eater, hand_over(eater, "hand_right"), item])
    top = max(y - 0.35 * thing.height, -thing.height) if not down else -thing.height + rng.uniform(0, 2)
    item = Placed(thing, x - 0.3 * thing.width, top if not plant else -thing.height, "object", down or plant)
    return Group([eater, item])


def pulling(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """Ahead of the load, a rope between."""
    a, b = evened_scales(subject, object_, 1.5)
    person = FAMILY_OF[subject] == "people"
    pose = Pose("walk", arms=((-48, -62), (-36, -58))) if person else Pose()
    puller = drawn(subject, rng, a * scale * 0.95, pose, turn=1, face=1)
    if person:
        puller = puller.turned(11)
    load = drawn(object_, rng, b * scale * 0.85, Pose(), turn=3, face=1)
    gap = rng.uniform(13, 22) * scale
    behind, ahead = grounded(load, 0, "object"), grounded(puller, load.width + gap, "subject")
    start = (load.width - 2, -min(0.45 * load.height, 0.4 * puller.height))
    end = ahead.at("hand_left", (0.15, 0.5)) if person else (ahead.left + 0.12 * puller.width, -0.5 * puller.height)
    return Group([behind, ahead, rope(start, end, rng, 2 * scale, 1.8 * scale)])


def pushing(subject: str, object_: str, rng: np.random.Generator, scale: float) -> Group:
    """Behind the load, arms against it."""
    a, b = evened_scales(subject, object_, 1.4)
    person = FAMILY_OF[subject] == "people"
    pose = Pose("walk", arms=((66, 88), (76, 94))) if person else Pose()
    pusher = drawn(subject, rng, a * scale * 0.98, pose, turn=1, face=1)
    if person:
        pusher = pusher.turned(13)
    load = drawn(object_, rng, b * scale * 0.92, turn=2)
    first = grounded(pusher, 0, "subject")
    reach = first.at("hand_right", (0.95, 0.5))[0] if person else pusher.width
    return Group([grounded(load, reach - 3 * scale, "object"), first])
