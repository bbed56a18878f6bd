"""The models of a server, from their own metadata and config: what requests are made from."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from triton_contract.clients.http import Address, read_exchange

_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Input:
    """An input. `dims` are those of the metadata; for a batching model the first one is the batch (-1)."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is ready. `outputs` are (name, datatype). A `max_batch_size` of 0 means that it does not batch."""

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[tuple[str, str], ...]
    max_batch_size: int = 0
    decoupled: bool = False
    versions: tuple[str, ...] = ("1",)


def model_of(metadata: dict[str, Any], config: dict[str, Any]) -> Model:
    """The model, from the answers to `GET /v2/models/M` and `GET /v2/models/M/config`."""
    optional = {each["name"] for each in config.get("input", ()) if each.get("optional")}
    return Model(
        name=metadata["name"],
        inputs=tuple(
            Input(each["name"], each["datatype"], tuple(map(int, each["shape"])), each["name"] in optional)
            for each in metadata["inputs"]
        ),
        outputs=tuple((each["name"], each["datatype"]) for each in metadata["outputs"]),
        max_batch_size=int(config.get("max_batch_size", 0)),
        decoupled=bool(config.get("model_transaction_policy", {}).get("decoupled")),
        versions=tuple(metadata["versions"]),
    )


def read_models(http: Address, *, leave_out: Collection[str] = ()) -> list[Model]:
    """The ready models of a server, sorted by name. Raises LookupError when the server does not answer with 200."""
    index = _ask(http, "POST", "/v2/repository/index")
    names = sorted({each["name"] for each in index if each.get("state") == "READY"} - set(leave_out))
    return [
        model_of(_ask(http, "GET", f"/v2/models/{name}"), _ask(http, "GET", f"/v2/models/{name}/config"))
        for name in names
    ]


def _ask(http: Address, method: str, path: str) -> Any:
    request = f"{method} {http.base_path}{path} HTTP/1.1\r\nHost: triton\r\nContent-Length: 0\r\n\r\n"
    wire = http.connect()
    try:
        wire.send(request.encode())
        response = read_exchange(wire, _SECONDS).response
    finally:
        wire.close()
    if response is None or response.status != 200:
        told = "no answer" if response is None else f"{response.status} {response.body[:200]!r}"
        raise LookupError(f"{method} {path}: {told}")
    return json.loads(response.body)
