from gateway.dialects.warn_once import LONGEST, WARNINGS_KEPT, WarnOnce


def test_each_warning_is_said_once() -> None:
    said: list[str] = []
    warn = WarnOnce(said.append)
    for message in ("a", "b", "a"):
        warn(message)
    assert said == ["a", "b"]


def test_warnings_are_bounded() -> None:
    said: list[str] = []
    warn = WarnOnce(said.append)
    for n in range(WARNINGS_KEPT + 10):
        warn(f"{n}")
    assert len(said) == WARNINGS_KEPT
    warn("0")
    assert len(said) == WARNINGS_KEPT


def test_long_warnings_are_cut() -> None:
    said: list[str] = []
    WarnOnce(said.append)("x" * 1000)
    assert said == ["x" * LONGEST + "…"]
