"""A page of metrics as Prometheus reads it: by its own client's parsers, in both formats."""

from collections.abc import Mapping

from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def samples(page: bytes, *, openmetrics: bool = False) -> Samples:
    """Every sample by its name and labels; nothing comes twice."""
    text = page.decode()
    if openmetrics:
        families = list(openmetrics_parser.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
    else:
        families = list(text_string_to_metric_families(text))
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in families:
        assert family.type != "unknown", family
        assert family.documentation, family
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, key
            found[key] = sample.value
    return found


def value(found: Samples, name: str, **labels: str) -> float:
    """One sample's value, 0 if it is not there."""
    return found.get((name, frozenset(labels.items())), 0.0)


def labels_of(found: Samples, label: str) -> set[str]:
    """All values of a label."""
    return {value for _, labels in found for name, value in labels if name == label}
