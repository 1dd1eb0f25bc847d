from pathlib import Path

import pytest

from gateway.config import load
from tests.fakes.gemini.__main__ import PATH, configuration, write


@pytest.mark.parametrize("vertex", [True, False])
def test_the_configuration_can_be_loaded(tmp_path: Path, vertex: bool) -> None:
    file = tmp_path / "gateway.toml"
    write(file, configuration("http://127.0.0.1:9", "m", vertex=vertex))
    loaded = load(file, {})
    (upstream,) = loaded.upstreams
    assert (upstream.kind, upstream.models, len(upstream.accounts)) == ("gemini", {"*": "m"}, 2)
    assert upstream.options.path == (PATH if vertex else None)
    assert loaded.server.port == 0
