from gateway.dialects.warn_once import LONGEST, WARNINGS_KEPT, WarnOnce


def test_each_warning_is_logged_once() -> None:
    warnings: list[str] = []
    warn = WarnOnce(warnings.append)
    for message in ("a", "b", "a"):
        warn(message)
    assert warnings == ["a", "b"]


def test_warnings_are_bounded() -> None:
    warnings: list[str] = []
    warn = WarnOnce(warnings.append)
    for n in range(WARNINGS_KEPT + 10):
        warn(f"{n}")
    assert len(warnings) == WARNINGS_KEPT
    warn("0")
    assert len(warnings) == WARNINGS_KEPT


def test_long_warnings_are_cut() -> None:
    warnings: list[str] = []
    WarnOnce(warnings.append)("x" * 1000)
    assert warnings == ["x" * LONGEST + "…"]
