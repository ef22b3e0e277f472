"""How a thing is held or holds itself: the part of its look that a relation decides."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pose:
    """Everything a template may be asked for; each template uses what applies to it.

    ``stance``: stand, walk, sit, ride, lie, kick, lean, fly, or any. ``arms``: two (upper, lower) angles in degrees
    from straight down, positive towards the right; empty for a free choice. ``bare``: which built-in clothing gives
    way to a worn thing (head, torso). ``head_down``: an animal that grazes. ``opened``: a vessel without its lid.
    """

    stance: str = "stand"
    arms: tuple[tuple[float, float], ...] = ()
    bare: str = ""
    head_down: bool = False
    opened: bool = False


FREE = Pose("any")
_STANCES = {
    "people": ("stand", "stand", "walk", "walk", "kick", "lean"),
    "four-legged animals": ("stand", "stand", "graze", "lie"),
    "birds": ("stand", "fly", "graze"),
}
_SITTING = ("dog", "cat", "sheep", "goat", "lion", "tiger")


def chosen(pose: Pose, name: str, family: str, rng: np.random.Generator) -> Pose:
    """``pose``, or for a free one something that a member of the family does of itself."""
    if pose.stance != "any":
        return pose
    stances = _STANCES.get(family, ("stand",)) + (("sit",) if name in _SITTING else ())
    stance = str(rng.choice(stances))
    if stance == "graze":
        return Pose(head_down=True)
    return Pose(stance, opened=bool(rng.random() < 0.3))
