"""Infer requests made from a model's own tensors: first a valid one, then up to three faults from a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

from hypothesis import strategies as st

from triton_contract.cases.encoding import HEADER_LENGTH, dump

from .model import Input, Model
from .mutations import mutated
from .request import Request
from .values import DATATYPES, NOT_IN_JSON, blob, element, junk, texts

Node = dict[str, Any]


@dataclass(slots=True)
class Tensor:
    """An input of a draft: its JSON, and its binary data if it has any."""

    json: Node
    blob: bytes = b""


@dataclass(slots=True)
class Draft:
    """A request that is being made; faults change it."""

    model: Model
    inputs: list[Tensor]
    document: Node = field(default_factory=dict)

    def header(self) -> bytes:
        return dump({"inputs": [each.json for each in self.inputs], **self.document})


@st.composite
def tensor(draw: st.DrawFn, spec: Input, batch: int, *, batching: bool) -> Tensor:
    """A valid tensor for that input; every variable dimension is small."""
    dims = spec.dims[1:] if batching else spec.dims
    shape = [*([batch] if batching else []), *(draw(st.integers(0, 3)) if d < 0 else d for d in dims)]
    node: Node = {"name": spec.name, "datatype": spec.datatype, "shape": shape}
    if draw(st.integers(0, 9)) >= (1 if spec.datatype in NOT_IN_JSON else 5):
        data = draw(blob(spec.datatype, prod(shape)))
        node["parameters"] = {"binary_data_size": len(data)}
        return Tensor(node, data)
    values = draw(st.lists(element(spec.datatype), min_size=prod(shape), max_size=prod(shape)))
    as_lists: bool = draw(st.booleans())
    node["data"] = nested(values, shape) if as_lists else values
    return Tensor(node)


def nested(values: list[Any], shape: list[int]) -> list[Any]:
    """The flat values as lists of lists."""
    if len(shape) < 2:
        return values
    width = prod(shape[1:])
    return [nested(values[at * width : (at + 1) * width], shape[1:]) for at in range(shape[0])]


# --- faults: each changes the draft, or leaves it as it is where there is nothing to change --------------------

Fault = Callable[[st.DrawFn, Draft], None]
_TENSOR_KEYS = ("name", "datatype", "shape", "data", "parameters")
_sizes = st.one_of(
    st.integers(-1, 9), st.sampled_from([1.0, "4", None, 2**31, 2**32, 2**63 - 1, 2**63, 2**64])
)
PARAMETERS = (
    *(
        "sequence_id",
        "sequence_start",
        "sequence_end",
        "priority",
        "timeout",
        "binary_data_output",
        "headers",
    ),
    *("triton_enable_empty_final_response", "triton_other", "custom", "binary_data", "binary_data_size", ""),
)
parameters = st.dictionaries(
    st.one_of(st.sampled_from(PARAMETERS), texts), st.one_of(junk, texts, st.integers(-3, 9)), max_size=3
)


def _any(draw: st.DrawFn, draft: Draft) -> Tensor | None:
    return draw(st.sampled_from(draft.inputs)) if draft.inputs else None


def _on_a_tensor(change: Callable[[st.DrawFn, Node], None]) -> Fault:
    def fault(draw: st.DrawFn, draft: Draft) -> None:
        chosen = _any(draw, draft)
        if chosen is not None:
            change(draw, chosen.json)

    return fault


def _rename(draw: st.DrawFn, node: Node) -> None:
    node["name"] = draw(st.one_of(texts, st.sampled_from(["INPUT0", "INPUT1", "OUTPUT0", "NOPE"])))


def _retype(draw: st.DrawFn, node: Node) -> None:
    node["datatype"] = draw(st.sampled_from([*DATATYPES, "STRING", "int32", "", "TYPE_INT32", "INVALID"]))


def _reshape(draw: st.DrawFn, node: Node) -> None:
    node["shape"] = draw(st.lists(_sizes, max_size=4))


def _resize_data(draw: st.DrawFn, node: Node) -> None:
    data = node.get("data")
    if isinstance(data, list):
        extra = draw(st.lists(st.one_of(junk, st.integers(0, 9)), max_size=2))
        node["data"] = data[: draw(st.integers(0, len(data)))] + extra


def _junk_in_data(draw: st.DrawFn, node: Node) -> None:
    data = node.get("data")
    if isinstance(data, list) and data:
        at = draw(st.integers(0, len(data) - 1))
        node["data"] = [*data[:at], draw(junk), *data[at + 1 :]]


def _wrap_data(draw: st.DrawFn, node: Node) -> None:
    data = node.get("data")
    if isinstance(data, list):
        node["data"] = draw(st.sampled_from([[data], [[each] for each in data], [*data, []], [[], *data]]))


def _drop(draw: st.DrawFn, node: Node) -> None:
    node.pop(draw(st.sampled_from(_TENSOR_KEYS)), None)


def _junk(draw: st.DrawFn, node: Node) -> None:
    node[draw(st.sampled_from(_TENSOR_KEYS))] = draw(junk)


def _other_size(draw: st.DrawFn, node: Node) -> None:
    given = node.get("parameters")
    old = given.get("binary_data_size", 0) if isinstance(given, dict) else 0
    near = st.integers(-5, 5).map(lambda by: (old if isinstance(old, int) else 0) + by)
    node["parameters"] = {"binary_data_size": draw(st.one_of(near, junk))}


def _parameters(draw: st.DrawFn, node: Node) -> None:
    given = node.get("parameters")
    node["parameters"] = {**(given if isinstance(given, dict) else {}), **draw(parameters)}


def _resize_blob(draw: st.DrawFn, draft: Draft) -> None:
    chosen = _any(draw, draft)
    if chosen is not None and isinstance(chosen.json.get("parameters"), dict):
        cut = draw(st.integers(0, len(chosen.blob)))
        chosen.blob = chosen.blob[:cut] + draw(st.binary(max_size=4))
        if draw(st.booleans()):
            chosen.json["parameters"] = {"binary_data_size": len(chosen.blob)}


def _repeat(draw: st.DrawFn, draft: Draft) -> None:
    if (chosen := _any(draw, draft)) is not None:
        draft.inputs.append(Tensor(dict(chosen.json), chosen.blob))


def _leave_out(draw: st.DrawFn, draft: Draft) -> None:
    if (chosen := _any(draw, draft)) is not None:
        draft.inputs = [each for each in draft.inputs if each is not chosen]


def _shuffle(draw: st.DrawFn, draft: Draft) -> None:
    draft.inputs = draw(st.permutations(draft.inputs))


def _member(draw: st.DrawFn, draft: Draft) -> None:
    name = draw(st.sampled_from(["id", "parameters", "outputs", "inputs", "model_name", "extra"]))
    draft.document[name] = draw(st.one_of(junk, texts))


def _outputs(draw: st.DrawFn, draft: Draft) -> None:
    names = [name for name, _ in draft.model.outputs]
    draft.document["outputs"] = draw(st.lists(_output(draft.model, names), max_size=3))


@st.composite
def _output(draw: st.DrawFn, model: Model, names: list[str]) -> Any:
    name = draw(st.one_of(st.sampled_from([*names, *names, "NOPE"]), texts)) if names else "NOPE"
    asked: Node = {}
    if draw(st.booleans()):
        asked["binary_data"] = draw(st.one_of(st.booleans(), junk))
    # 2.51: classification of a BYTES output kills the server.
    if not any(datatype == "BYTES" for _, datatype in model.outputs) and draw(st.booleans()):
        asked["classification"] = draw(st.one_of(st.integers(-1, 5), junk))
    if draw(st.integers(0, 9)) == 9:
        asked |= draw(parameters)
    node: Node = {"name": name, **({"parameters": asked} if asked else {})}
    if draw(st.integers(0, 9)) == 9:
        node[draw(st.sampled_from(["name", "parameters", "data"]))] = draw(junk)
    return node


FAULTS: tuple[Fault, ...] = (
    _on_a_tensor(_rename),
    _on_a_tensor(_retype),
    _on_a_tensor(_reshape),
    _on_a_tensor(_resize_data),
    _on_a_tensor(_junk_in_data),
    _on_a_tensor(_wrap_data),
    _on_a_tensor(_drop),
    _on_a_tensor(_junk),
    _on_a_tensor(_other_size),
    _on_a_tensor(_parameters),
    _resize_blob,
    _repeat,
    _leave_out,
    _shuffle,
    _member,
    _outputs,
)

# --- the request -------------------------------------------------------------------------------------------------


@st.composite
def infer_requests(draw: st.DrawFn, models: list[Model]) -> Request:
    """A request to one of the models: valid, nearly valid, or with a broken text."""
    model = draw(st.sampled_from(models))
    draft = _valid(draw, model)
    for fault in draw(st.lists(st.sampled_from(FAULTS), max_size=3)):
        fault(draw, draft)
    header = draft.header()
    if draw(st.integers(0, 4)) == 4:
        header = draw(mutated(header))
    blobs = b"".join(each.blob for each in draft.inputs)
    headers = _headers(draw, len(header)) if blobs or draw(st.integers(0, 9)) == 9 else ()
    return Request("POST", _path(draw, model), header + blobs, headers)


def _valid(draw: st.DrawFn, model: Model) -> Draft:
    batching = model.max_batch_size > 0
    batch = draw(st.integers(1, min(model.max_batch_size, 3))) if batching else 0
    inputs = [
        draw(tensor(each, batch, batching=batching))
        for each in model.inputs
        if not each.optional or draw(st.booleans())
    ]
    document: Node = {}
    if draw(st.booleans()):
        document["id"] = draw(texts)
    if draw(st.integers(0, 3)) == 3:
        document["parameters"] = draw(parameters)
    some: bool = draw(st.booleans())
    if model.outputs and some:
        names = st.sampled_from([name for name, _ in model.outputs])
        wanted: list[str] = draw(st.lists(names, unique=True))
        binary = draw(st.booleans())
        document["outputs"] = [{"name": name, "parameters": {"binary_data": binary}} for name in wanted]
    return Draft(model, inputs, document)


def _headers(draw: st.DrawFn, length: int) -> tuple[tuple[str, str], ...]:
    kind = draw(st.integers(0, 9))
    if kind < 8:
        return ((HEADER_LENGTH, str(length)),)
    if kind == 8:
        return ()
    near = st.integers(-3, 3).map(lambda by: str(length + by))
    odd = st.sampled_from(["0", "-1", "abc", "5x", "+5", "2147483648", "99999999999999999999", "1.5"])
    return ((HEADER_LENGTH, draw(st.one_of(near, odd))),)


def _path(draw: st.DrawFn, model: Model) -> str:
    version = draw(st.sampled_from(["", "", "", *model.versions, "9"]))
    return f"/v2/models/{model.name}{f'/versions/{version}' if version else ''}/infer"
