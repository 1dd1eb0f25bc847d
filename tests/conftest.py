"""Fixtures and settings of every test."""

import gc
import os
import signal
import traceback
from asyncio import constants
from collections.abc import Generator, Iterator

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import settings

from tests.support.rows import in_one_test
from tests.support.store_server import StoreServer

# The loops' debug mode would keep where each callback, task and future was made, which costs as much as to call it. Who
# looks for one that is left behind takes these two lines away.
vars(constants)["DEBUG_STACK_DEPTH"] = 0
pytest.MonkeyPatch().setattr(traceback.StackSummary, "extract", lambda *_, **__: traceback.StackSummary())

settings.register_profile("suite", max_examples=60, deadline=None)
settings.load_profile("suite")

gc.disable()  # until all tests are found: imported objects stay


def pytest_xdist_auto_num_workers() -> int:
    """Return one more than there are processors: some tests wait for a clock, and leave theirs to others."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that test the whole and take long, so that no worker is left alone with one at the end."""
    items[:] = in_one_test(sorted(items, key=lambda item: len(item.path.parts)))


def pytest_collection_finish() -> None:
    """Leave ten thousand tests and all modules out of what the collector looks at from now on."""
    gc.freeze()
    gc.enable()


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Let a worker send one message about a test that passes, not five: that is a tenth of the suite's time."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return None
    for report in runtestprotocol(item, nextitem=nextitem, log=False):
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    return True


def signal_state() -> tuple[object, ...]:
    """Return the signals that are blocked, and the handlers of those that the gateway uses."""
    used = (
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGCONT,
    )
    return signal.pthread_sigmask(signal.SIG_BLOCK, []), *map(signal.getsignal, used)


SIGNALS = signal_state()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None]:
    """Fail a test that leaves the process's signals changed: a later one, which sends some, would fail in its place."""
    yield
    assert signal_state() == SIGNALS


@pytest.fixture(scope="session")
def store_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """A store that all tests share; each has its own prefix there."""
    server = StoreServer(tmp_path_factory.mktemp("store"))
    server.start()
    yield server
    server.close()


@pytest.fixture
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """The test's own store, to be killed or stopped; it is not started yet."""
    server = StoreServer(tmp_path_factory.mktemp("store"))
    yield server
    server.close()
