"""Probes: requests to any model that show what versions do differently, made from the model's own metadata.

A probe belongs to the rows of the table of changes that it can show (`shows`, names of fields); one that shows none
asks what no version should change. A difference is told under every row of its probe, so a probe names only the rows
that it shows by itself. Pure: models in, cases out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

from triton_contract.cases.case import Case
from triton_contract.cases.rpc import GrpcCase
from triton_contract.fuzz.model import Input, Model
from triton_contract.fuzz.values import NOT_IN_JSON, SIZES

Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Probe:
    """One kind of request. `steps` makes its steps for a model; none where the model cannot be asked so."""

    name: str
    steps: Callable[[Model], list[Node]]
    shows: tuple[str, ...] = ()
    #: asked once, not once for each model
    once: bool = False


def cases_of(probe: Probe, models: list[Model], folder: str) -> Iterator[Case]:
    """The cases of a probe over the model repository `folder`."""
    for model in models[:1] if probe.once else models:
        steps = probe.steps(model)
        if steps:
            kind = GrpcCase if any("rpc" in step for step in steps) else Case
            name = (
                "server"
                if probe.once
                else "".join(c if c.isalnum() or c in "_.=+-" else "-" for c in model.name)
            )
            yield kind.model_validate(
                {
                    "id": f"upgrade/{name}/{probe.name}",
                    "repository": "yours",
                    "folder": folder,
                    "steps": steps,
                }
            )


# --- a valid request -----------------------------------------------------------------------------------------------


def shape_of(spec: Input) -> list[int]:
    """The smallest shape that fits: 1 for every variable dimension."""
    return [1 if dim < 0 else dim for dim in spec.dims]


def value_of(datatype: str) -> Any:
    """An element that every model should take."""
    return {"BOOL": True, "BYTES": "text"}.get(datatype, 1)


def input_of(spec: Input) -> Node:
    """The input with its smallest shape, as JSON."""
    shape = shape_of(spec)
    node: Node = {"name": spec.name, "datatype": spec.datatype, "shape": shape}
    if spec.datatype in NOT_IN_JSON:
        return node | {"parameters": {"binary_data_size": SIZES[spec.datatype] * prod(shape)}}
    return node | {"data": [value_of(spec.datatype)] * prod(shape)}


def needed(model: Model) -> list[Input]:
    """The inputs that a request must have."""
    return [spec for spec in model.inputs if not spec.optional]


def infer_step(model: Model, inputs: list[Node], **document: Any) -> Node:
    """An infer request over HTTP. Inputs that JSON cannot carry follow it as zeros."""
    blobs = [
        {"hex": "00" * node["parameters"]["binary_data_size"]}
        for node in inputs
        if "binary_data_size" in node.get("parameters", {})
    ]
    path = f"/v2/models/{model.name}/infer"
    header = {"inputs": inputs, **document}
    return (
        {"path": path, "infer": {"header": header, "binary": blobs}}
        if blobs
        else {"path": path, "json": header}
    )


def _valid(model: Model) -> list[Node]:
    return [infer_step(model, [input_of(spec) for spec in needed(model)])]


def _first_in_json(model: Model) -> tuple[list[Node], Node] | None:
    """A valid request's inputs, and the first of them whose elements are in the JSON."""
    inputs = [input_of(spec) for spec in needed(model)]
    found = next((node for node in inputs if "data" in node and node["datatype"] != "BYTES"), None)
    return None if found is None else (inputs, found)


def _changed(change: Callable[[Node], Node]) -> Callable[[Model], list[Node]]:
    """A request whose first input in JSON is another one."""

    def steps(model: Model) -> list[Node]:
        found = _first_in_json(model)
        if found is None:
            return []
        inputs, chosen = found
        return [infer_step(model, [change(node) if node is chosen else node for node in inputs])]

    return steps


def _outputs_twice(model: Model) -> list[Node]:
    if not model.outputs:
        return []
    output = {"name": model.outputs[0][0]}
    return [infer_step(model, [input_of(spec) for spec in needed(model)], outputs=[output, output])]


def _generate_body(model: Model) -> Node:
    return {
        spec.name: value_of(spec.datatype)
        if prod(shape_of(spec)) == 1
        else [value_of(spec.datatype)] * prod(shape_of(spec))
        for spec in needed(model)
    }


def _has_a_list_of_numbers(model: Model) -> bool:
    return any(spec.datatype != "BYTES" and prod(shape_of(spec)) != 1 for spec in needed(model))


def _generate(model: Model) -> list[Node]:
    return [] if _has_a_list_of_numbers(model) else _generate_any(model)


def _generate_list(model: Model) -> list[Node]:
    return _generate_any(model) if _has_a_list_of_numbers(model) else []


def _generate_any(model: Model) -> list[Node]:
    return [{"path": f"/v2/models/{model.name}/generate", "json": _generate_body(model)}]


def _generate_empty(model: Model) -> list[Node]:
    specs = needed(model)
    if not specs:
        return []
    body = _generate_body(model) | {specs[0].name: []}
    return [{"path": f"/v2/models/{model.name}/generate", "json": body}]


def _generate_deep(model: Model) -> list[Node]:
    specs = needed(model)
    if not specs:
        return []
    text = json.dumps(_generate_body(model) | {specs[0].name: "@"}).replace(
        '"@"', "[" * 150 + "1" + "]" * 150
    )
    return [{"path": f"/v2/models/{model.name}/generate", "text": text}]


def _grpc(model: Model) -> list[Node]:
    inputs = []
    raw = []
    for spec in needed(model):
        shape = shape_of(spec)
        inputs.append({"name": spec.name, "datatype": spec.datatype, "shape": shape})
        element = b"\x04\0\0\0text" if spec.datatype == "BYTES" else b"\1".ljust(SIZES[spec.datatype], b"\0")
        raw.append({"hex": (element * prod(shape)).hex()})
    message = {"model_name": model.name, "inputs": inputs, "raw_input_contents": raw}
    return [{"rpc": "ModelInfer", "message": message}]


def _http_decoupled(steps: Callable[[Model], list[Node]]) -> Callable[[Model], list[Node]]:
    """Only for models that answer over HTTP infer: decoupled ones refuse it, always in the same words."""
    return lambda model: [] if model.decoupled else steps(model)


def _asked(path: str, **step: Any) -> Callable[[Model], list[Node]]:
    """One request, `{name}` in whose path is the model's name."""
    return lambda model: [{"path": path.replace("{name}", model.name), **step}]


def _no_number(model: Model) -> list[Node]:
    headers = {"Inference-Header-Content-Length": "abc"}
    return [{**step, "headers": headers} for step in _valid(model) if "json" in step]


def _without_an_input(model: Model) -> list[Node]:
    specs = needed(model)
    return [infer_step(model, [input_of(spec) for spec in specs[1:]])] if len(specs) > 1 else []


def _faulty(change: Callable[[Node], Node]) -> Callable[[Model], list[Node]]:
    return _http_decoupled(_changed(change))


_REGION = {"key": "/no_such_object", "offset": 0, "byte_size": 4}
PROBES: tuple[Probe, ...] = (
    Probe("metadata", _asked("/v2/models/{name}")),
    Probe("config", _asked("/v2/models/{name}/config"), ("unknown_config_fields",)),
    Probe("ready", _asked("/v2/models/{name}/ready")),
    Probe("a-valid-request", _valid, ("status_by_code",)),
    Probe("a-valid-request-over-grpc", _grpc),
    Probe("a-valid-generate", _generate, ("generate_head",)),
    Probe("generate-with-a-list", _generate_list, ("generate_arrays", "generate_head")),
    Probe("generate-with-no-elements", _generate_empty, ("generate_checks_size", "generate_head")),
    Probe("generate-nested-too-deep", _generate_deep, ("json_nesting_limit", "generate_head")),
    Probe("an-input-too-few", _without_an_input, ("missing_inputs_named",)),
    Probe(
        "an-element-too-few",
        _faulty(lambda node: node | {"data": node["data"][:-1]}),
        ("too_few_elements", "status_by_code"),
    ),
    Probe(
        "an-element-too-many",
        _faulty(lambda node: node | {"data": [*node["data"], 1]}),
        ("status_by_code",),
    ),
    Probe("ragged-lists", _faulty(lambda node: node | {"data": [node["data"], []]})),
    Probe(
        "a-shape-that-overflows", _faulty(lambda node: node | {"shape": [2**40, 2**40]}), ("checks_shapes",)
    ),
    Probe("a-shape-below-zero", _faulty(lambda node: node | {"shape": [-1]}), ("status_by_code",)),
    Probe("an-output-twice", _http_decoupled(_outputs_twice), ("duplicate_outputs",)),
    Probe("a-header-length-that-is-no-number", _no_number, ("numeric_header_length",)),
    Probe("the-server", _asked("/v2"), once=True),
    Probe("an-unknown-model", _asked("/v2/models/no_such_model"), ("status_by_code",), once=True),
    Probe(
        "is-an-unknown-model-ready",
        _asked("/v2/models/no_such_model/ready"),
        ("tells_why_no_model_is_ready",),
        once=True,
    ),
    Probe(
        "the-index-with-a-text-as-ready",
        _asked("/v2/repository/index", json={"ready": "yes"}),
        ("index_ready_no_boolean", "status_by_code"),
        once=True,
    ),
    Probe(
        "the-index-with-a-comma-as-body",
        _asked("/v2/repository/index", text=","),
        ("iterative_json",),
        once=True,
    ),
    Probe(
        "a-region-of-shared-memory",
        _asked("/v2/systemsharedmemory/region/mine/register", json=_REGION),
        ("allows_client_shared_memory", "status_by_code"),
        once=True,
    ),
)
