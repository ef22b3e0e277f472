from tests.conftest import no_network, real_data, reference_fixtures
from tests.regions.conftest import new_small_scenes, small_scenes
from tests.scenes.conftest import annotation_folder

__all__ = ["annotation_folder", "new_small_scenes", "no_network", "real_data", "reference_fixtures", "small_scenes"]
