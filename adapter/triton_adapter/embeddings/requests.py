"""An OpenAI embeddings body, checked and sorted. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triton_adapter.errors import BadRequestError, MissingParameterError
from triton_adapter.openai.parameters import checked, is_int


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """The embeddings that were asked for: `inputs` holds strings and token lists.

    `extra` and `body_extra` (from `extra_body`) may be inputs of the model, which only its plan can tell; `parameters`
    are Triton request parameters.
    """

    inputs: list[Any]
    base64: bool
    dimensions: int | None
    extra: dict[str, Any]
    body_extra: dict[str, Any]
    parameters: dict[str, Any]


def read_embedding(body: Mapping[str, Any]) -> EmbeddingRequest:
    """Check an embeddings body. MissingParameterError or BadRequestError name the parameter."""
    given = body.get("input")
    if given is None:
        raise MissingParameterError("Missing required parameter: 'input'.", param="input")
    form = body.get("encoding_format")
    if form not in (None, "float", "base64"):
        raise BadRequestError(
            "'encoding_format' must be float or base64", param="encoding_format", code="invalid_value"
        )
    dimensions = body.get("dimensions")
    if dimensions is not None and (not is_int(dimensions) or dimensions < 1):
        raise BadRequestError(
            "'dimensions' must be an integer of 1 or more", param="dimensions", code="invalid_value"
        )
    for name in ("user", "extra_body"):
        if body.get(name) is not None:
            checked(name, body[name])
    known = {"input", "model", "encoding_format", "dimensions", "user", "extra_body"}
    extra = {name: value for name, value in body.items() if name not in known and value is not None}
    parameters = {} if body.get("user") is None else {"user": body["user"]}
    return EmbeddingRequest(
        _inputs(given), form == "base64", dimensions, extra, dict(body.get("extra_body") or {}), parameters
    )


def _inputs(given: Any) -> list[Any]:
    if isinstance(given, str) and given:
        return [given]
    if isinstance(given, list) and given:
        if all(map(is_int, given)):
            return [given]
        if all(isinstance(item, str) and item for item in given):
            return given
        if all(isinstance(item, list) and item and all(map(is_int, item)) for item in given):
            return given
    raise BadRequestError(
        "'input' must be a string, a list of strings, a list of tokens or a list of token lists, none of them empty",
        param="input",
        code="invalid_value",
    )
