"""How a thing is held or holds itself: the part of its look that a relation decides."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pose:
    """Everything a template may be asked for; each template uses what applies to it.

    ``stance``: stand, walk, sit, ride, lie, kick. ``arms``: two (upper, lower) angles in degrees from straight down,
    positive towards the right; empty for a free choice. ``bare``: which built-in clothing gives way to a
    worn thing (head, torso). ``head_down``: an animal that grazes. ``opened``: a vessel without its lid.
    """

    stance: str = "stand"
    arms: tuple[tuple[float, float], ...] = ()
    bare: str = ""
    head_down: bool = False
    opened: bool = False


FREE = Pose()
