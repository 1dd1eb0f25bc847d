"""Each dialect encodes any request that was read, as JSON and with every set of repairs, or refuses it with a 400 in
words; histories, schemas and names of tools become what the strict fake of Gemini takes."""

import json
from random import Random

from hypothesis import strategies as st

from gateway.config import Upstream
from gateway.dialects.gemini.schema.clean import Form, Schemas
from gateway.dialects.gemini.tools import NAMES
from gateway.dialects.json_schema.cache import SchemaCache
from gateway.dialects.tool_names import ToolNames
from gateway.messages.errors import RequestError
from gateway.messages.repair import REPAIRS
from tests.dialects.gemini.schema.test_clean import any_root
from tests.dialects.gemini.support import body, validate_request
from tests.dialects.gemini.support import upstream as gemini_upstream
from tests.dialects.gemini.test_contents import any_history
from tests.fakes.gemini.schemas import validate_json_schema, validate_openapi_schema
from tests.fuzz.fuzz import fuzz
from tests.support.driven import DIALECTS, refused_in_words, request_of
from tests.support.incoming import Incoming
from tests.support.strategies import BODIES, MODELS

UPSTREAMS = [
    Upstream(name=kind, kind=kind, base_url="http://127.0.0.1:9", repairs=frozenset(repairs))
    for kind in ("anthropic", "gemini")
    for repairs in ((), REPAIRS)
]


def contract(raw: bytes, model: str) -> None:
    request = request_of(raw)
    if request is None:
        return
    incoming = Incoming(parsed=request)
    for upstream in UPSTREAMS:
        try:
            outgoing = DIALECTS[upstream.kind].encode(upstream, model, incoming, stream=request.stream)
            json.loads(outgoing.body)
        except RequestError as error:
            refused_in_words(error)


def test_a_request_for_each_upstream() -> None:
    fuzz(contract, BODIES, MODELS)


SEEDS = st.integers(0, 2**64)
VERTEX = gemini_upstream(path="/x/{model}:generate")


def history_contract(seed: int) -> None:
    validate_request(body({"messages": any_history(Random(seed))}, VERTEX), vertex=True)


def test_histories_for_gemini() -> None:
    fuzz(history_contract, SEEDS)


def ignore(warning: str) -> None:
    """Discard a warning."""


def schema_contract(seed: int, form: Form) -> None:
    root = any_root(Random(seed))
    schemas = Schemas(SchemaCache(), form, ignore)
    validate = validate_json_schema if form == "json" else validate_openapi_schema
    for found in (schemas.parameters(root), schemas.output(root)):
        if found is not None:
            validate(found)


def test_schemas_for_gemini() -> None:
    fuzz(schema_contract, SEEDS, st.sampled_from(("json", "openapi")))


def names_contract(names: list[str], called: str) -> None:
    known = ToolNames(NAMES, names)
    wires = [known.wire(name) for name in names]
    assert all(NAMES.is_legal(wire) for wire in wires)
    assert [known.original(wire) for wire in wires] == names
    assert len(set(wires)) == len(set(names))
    known.original(called)


def test_names_of_tools() -> None:
    text = st.text(max_size=100)
    fuzz(names_contract, st.lists(text | st.from_regex(r"[a-z_]{1,3}_[0-9a-f]{8}", fullmatch=True)), text)
