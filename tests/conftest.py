"""What tests of several packages are given."""

from collections.abc import Iterator

import pytest

from tests.support.store_server import StoreServer


@pytest.fixture(scope="session")
def store_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """A store that all tests share; each has a prefix of its own there."""
    server = StoreServer(tmp_path_factory.mktemp("store"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """A store of the test's own, to be killed or stopped; it is not started yet."""
    server = StoreServer(tmp_path_factory.mktemp("store"))
    yield server
    server.kill()
