"""Generate and generate_stream requests made from a model's own tensors: valid ones and broken ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from triton_contract.cases.encoding import dump

from .infer import PARAMETERS
from .model import Input, Model
from .mutations import mutated
from .request import Request
from .values import NOT_IN_JSON, element, junk, texts

Node = dict[str, Any]


def _value(spec: Input) -> st.SearchStrategy[Any]:
    """What a client may write for that tensor: one element, or a list of elements."""
    one = junk if spec.datatype in NOT_IN_JSON else element(spec.datatype)
    return st.one_of(one, st.lists(one, max_size=5), st.lists(st.one_of(one, junk), max_size=3), junk)


@st.composite
def generate_requests(draw: st.DrawFn, models: list[Model], operation: str) -> Request:
    """A request of that operation (`generate` or `generate_stream`) to one of the models."""
    model = draw(st.sampled_from(models))
    document: Node = {}
    for spec in model.inputs:
        if draw(st.integers(0, 3)) < (2 if spec.optional else 3):
            document[spec.name] = draw(_value(spec))
    for _ in range(draw(st.integers(0, 2))):
        key = draw(
            st.one_of(st.sampled_from([*PARAMETERS, "id", "parameters", "text_input", "inputs"]), texts)
        )
        document[key] = draw(st.one_of(junk, texts, st.dictionaries(texts, junk, max_size=2)))
    body = dump(document) if draw(st.integers(0, 19)) else dump(draw(junk))
    if draw(st.integers(0, 3)) == 3:
        body = draw(mutated(body))
    version = draw(st.sampled_from(["", "", "", *model.versions, "9"]))
    at = f"/versions/{version}" if version else ""
    return Request("POST", f"/v2/models/{model.name}{at}/{operation}", body)
