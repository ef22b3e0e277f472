from tests.conftest import no_network
from tests.regions.conftest import new_small_scenes, small_scenes

__all__ = ["new_small_scenes", "no_network", "small_scenes"]
