"""Kinds of upstreams: each row fits the rest of the configuration, and leads to a dialect."""

import re
import tomllib
from importlib import import_module

import pytest

from gateway.config.kinds import CURES, FIELDS_CURE, KINDS, NEEDED_FIELDS, REPAIRS, SIGNATURE_MARKS
from gateway.config.upstreams import FIELDS, KEYS, keys_of
from gateway.messages import cures
from gateway.routing.cures import MESSAGES_CURES

SETTING = re.compile(r"^#(?=[A-Za-z\\[\"])", re.MULTILINE)


@pytest.mark.parametrize("name", KINDS)
def test_each_row_is_complete(name: str) -> None:
    row = KINDS[name]
    options = set(row.options.__annotations__) if row.options is not None else set()
    assert options == row.keys.keys() - set(FIELDS)
    assert not row.keys.keys() & KEYS.keys()
    assert row.defaults.keys() <= keys_of(name).keys()
    assert row.local_presets <= row.presets.keys()
    assert row.repairs - {"thinking_cache_control"} <= set(REPAIRS)
    if row.base_url:
        assert row.check_url(row.base_url) == row.base_url


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_has_a_dialect(name: str) -> None:
    module = import_module(f"gateway.dialects.{KINDS[name].module}")
    warnings: list[str] = []
    dialect = module.new_dialect(lambda: 0.5, warnings.append)
    assert callable(dialect.encode)
    assert warnings == []


@pytest.mark.parametrize("name", [name for name in KINDS if KINDS[name].starter])
def test_the_starter_of_a_kind_shows_all_its_keys_and_its_example(name: str) -> None:
    row = KINDS[name]
    document = tomllib.loads(SETTING.sub("", row.starter))
    (shown,) = document["upstreams"].values()
    assert row.keys.keys() - shown.keys() <= {"envelope", "project"}
    assert row.example_model in shown["models"].values()


def test_the_cures_that_can_be_named_are_those_that_there_are() -> None:
    assert {*CURES, FIELDS_CURE} == {row.name for row in MESSAGES_CURES} == {"betas", *cures.CURES}


@pytest.mark.parametrize("name", sorted(NEEDED_FIELDS))
def test_fields_that_cannot_be_dropped_are_those_that_no_cure_leaves_out(name: str) -> None:
    assert cures.without_fields({"messages": [], name: [1]}, name) == {"messages": [], name: [1]}


def test_signatures_of_two_kinds_cannot_be_confused() -> None:
    assert len(set(SIGNATURE_MARKS)) == len(SIGNATURE_MARKS)
    for mark in SIGNATURE_MARKS:
        assert not any(other.startswith(mark) for other in SIGNATURE_MARKS if other != mark)
