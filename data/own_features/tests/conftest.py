from tests.conftest import no_network, real_data, reference_fixtures
from tests.regions.conftest import import_source

__all__ = ["import_source", "no_network", "real_data", "reference_fixtures"]
