from tests.conftest import no_network, real_data, reference_fixtures
from tests.scenes.conftest import annotation_folder

__all__ = ["annotation_folder", "no_network", "real_data", "reference_fixtures"]
