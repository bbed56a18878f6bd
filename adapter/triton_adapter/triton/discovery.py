"""Reads a model's inputs and outputs once, from its metadata and its config.

`GET /v2/models/M` tells names, datatypes and shapes; `GET .../config` tells the batch size, which inputs are
optional and whether the model is decoupled. If a server
does not give its config, the metadata alone is used.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

from triton_adapter.errors import AdapterError, BadGatewayError, NotFoundError
from triton_adapter.jsontext import loads
from triton_adapter.steps import HttpReply, HttpRequest
from triton_adapter.triton.replies import read_error


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output: `dims` without the batch dimension, -1 for any length."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model: `max_batch_size` 0 means that no batch dimension is added."""

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    version: str | None = None
    max_batch_size: int = 0
    decoupled: bool = False
    backend: str = ""


def model_path(model: str, version: str | None) -> str:
    """Return the `/v2` path of a model; Triton does not decode percent signs, so the name goes as it is."""
    return f"/v2/models/{model}/versions/{version}" if version else f"/v2/models/{model}"


def discover(
    get: Callable[[str], HttpRequest], model: str, version: str | None, upstream: str
) -> Generator[HttpRequest, HttpReply, ModelInfo]:
    """Read a model from its server, as steps; `get` makes a request. NotFoundError if the server has no such model."""
    path = model_path(model, version)
    metadata = read_document((yield get(path)), upstream)
    try:
        config = read_document((yield get(f"{path}/config")), upstream)
    except AdapterError as error:
        if error.retryable:
            raise
        config = None
    return read_model(metadata, config)


def read_model(metadata: Mapping[str, Any], config: Mapping[str, Any] | None) -> ModelInfo:
    """Return the model that two documents describe. BadGatewayError if they do not describe one."""
    try:
        batch = int((config or {}).get("max_batch_size") or 0)
        optional = {item["name"] for item in (config or {}).get("input", ()) if item.get("optional")}
        if config is None:  # unknown which inputs are optional: the server refuses if one is missing
            optional = {item["name"] for item in metadata["inputs"]}
        policy = (config or {}).get("model_transaction_policy") or {}
        return ModelInfo(
            name=str(metadata["name"]),
            inputs=_specs(metadata["inputs"], batch, optional),
            outputs=_specs(metadata["outputs"], batch, frozenset()),
            max_batch_size=batch,
            decoupled=bool(policy.get("decoupled")),
            backend=str((config or {}).get("backend") or metadata.get("platform") or ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadGatewayError("the model's metadata or config is not that of a v2 server") from error


def _specs(items: Any, batch: int, optional: Any) -> dict[str, TensorSpec]:
    specs = {}
    for item in items:
        shape = tuple(int(length) for length in item["shape"])
        dims = shape[1:] if batch else shape
        name, datatype = item["name"], item["datatype"]
        if not (isinstance(name, str) and isinstance(datatype, str)):
            raise TypeError("a tensor's name and datatype are strings")
        specs[name] = TensorSpec(name, datatype, dims, name in optional)
    return specs


def read_document(reply: HttpReply, upstream: str) -> dict[str, Any]:
    """Return a model's metadata or config. An AdapterError says why the reply is neither."""
    if reply.status != 200:
        error = read_error(reply, upstream=upstream)
        if (
            isinstance(error, NotFoundError) and error.message == "Not Found"
        ):  # 2.51: this is said of a path, not of a model
            error = NotFoundError(
                "no /v2/models is served there: is the path of api_base right?", param="model"
            )
        raise error
    try:
        document = loads(reply.body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise BadGatewayError(
            "the model's metadata or config is not JSON: is api_base the address of Triton's HTTP port?",
            upstream=upstream,
        )
    return document
