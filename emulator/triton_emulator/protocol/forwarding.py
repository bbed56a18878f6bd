"""Which headers and metadata may become request parameters."""

from triton_emulator.protocol.errors import TritonError, invalid_arg
from triton_emulator.protocol.personality import Personality


def reserved(name: str, rules: Personality) -> TritonError | None:
    """The refusal of a header whose name the version keeps for itself; None for another.

    The source of the rule is the change `reserved_headers` of `protocol.personality`.
    """
    names = rules.reserved_headers
    if names and (name in names or name.startswith("triton_")):
        return invalid_arg(f"Header '{name}' is reserved for Triton usage and cannot be forwarded.")
    return None
