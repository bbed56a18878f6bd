"""The strategies that make the requests of a campaign, by operation."""

from __future__ import annotations

from hypothesis import strategies as st

from .generate import generate_requests
from .infer import infer_requests
from .memory import is_light
from .model import Model
from .request import Request
from .routes import route_requests


def requests_of(operation: str, models: list[Model]) -> st.SearchStrategy[Request]:
    """Requests of one of OPERATIONS to these models."""
    if operation == "routes":
        return route_requests(models)
    if operation == "infer":
        return infer_requests(models).filter(is_light)
    return generate_requests(models, operation)


def described_requests(models: list[Model], operations: tuple[str, ...] = ()) -> st.SearchStrategy[Request]:
    """Requests that Schemathesis makes from `openapi.yaml`."""
    # Schemathesis takes a second to import.
    from .openapi import schemathesis_requests

    return schemathesis_requests(models, operations).filter(is_light)
