"""The options of `triton-contract fuzz` as one value. Imports nothing heavy, so every command line can load it."""

from __future__ import annotations

from dataclasses import dataclass

OPERATIONS = ("routes", "infer", "generate", "generate_stream")
CONFIGS = "configs"
"""The operation that loads texts of `config.pbtxt`. It has a repository of its own, so it is not among the others."""


@dataclass(frozen=True, slots=True)
class FuzzOptions:
    """Which servers are asked, what about, and how much."""

    target: str
    reference: str
    version: str
    repository: str
    operations: tuple[str, ...]
    """Some of OPERATIONS, or CONFIGS alone; none means all of OPERATIONS."""
    schemathesis: bool
    """Whether Schemathesis makes the requests, from openapi.yaml."""
    examples: int
    """Requests in all; they are divided equally among the operations."""
    seed: int
    leave_out: tuple[str, ...]
    """Names of models that are not asked."""
