"""Checks `sequence_batching`: its control tensors and its two strategies, in Triton's order and words."""

from triton_emulator.protocol.errors import invalid_arg
from triton_emulator.repository.schema import Proto, enum_name

_FALSE_TRUE = ("int32_false_true", "fp32_false_true", "bool_false_true")
_BOOLEAN_KINDS = ("CONTROL_SEQUENCE_START", "CONTROL_SEQUENCE_END", "CONTROL_SEQUENCE_READY")
_CORRELATION_ID = "CONTROL_SEQUENCE_CORRID"
_CORRELATION_ID_TYPES = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")


def check_sequence_batching(config: Proto) -> None:
    """Raises INVALID_ARG at the first fault of `config.sequence_batching`."""
    name, batcher = config.name, config.sequence_batching
    if config.response_cache.enable:
        raise invalid_arg(
            f"Response Cache does not currently support model {name} with sequence batching scheduler. "
            "Please disable the response cache."
        )
    for kind in (*_BOOLEAN_KINDS, _CORRELATION_ID):
        _check_control(config, kind)
    if batcher.HasField("oldest"):
        for size in batcher.oldest.preferred_batch_size:
            if size <= 0:
                raise invalid_arg(f"sequence batching preferred batch size must be positive for {name}")
            if size > config.max_batch_size:
                raise invalid_arg(
                    f"sequence batching preferred batch size must be <= max batch size for {name}"
                )
    utilization = batcher.direct.minimum_slot_utilization
    if batcher.HasField("direct") and (utilization < 0 or utilization > 1):  # 2.51 lets NaN pass
        raise invalid_arg(
            f"sequence batching minimum slot utilization must be in range (0.0, 1.0] for {name}"
        )


def _check_control(config: Proto, kind: str) -> None:
    """At most one tensor has the control `kind`, and it is complete. Faults of the tensors before it come first."""
    name = config.name
    tensors: set[str] = set()
    found = False
    for tensor in config.sequence_batching.control_input:
        if not tensor.name:
            raise invalid_arg(f"sequence batching control tensor must have a name for {name}")
        if tensor.name in tensors:
            raise invalid_arg(
                f"sequence batching control tensor '{tensor.name}' is specified for multiple control kinds for {name}"
            )
        tensors.add(tensor.name)
        for control in tensor.control:
            if enum_name(control, "kind") != kind:
                continue
            if found:
                raise invalid_arg(f"sequence batching specifies multiple {kind} tensors for {name}")
            found = True
            (_check_correlation_id if kind == _CORRELATION_ID else _check_boolean)(control, kind, name)
    if found and kind == _CORRELATION_ID:
        _check_correlation_id_type(config)


def _check_boolean(control: Proto, kind: str, name: str) -> None:
    given = [field for field in _FALSE_TRUE if getattr(control, field)]
    if not given:
        raise invalid_arg(
            "sequence batching must specify either 'int32_false_true', 'fp32_false_true' or 'bool_false_true' for "
            f"{kind} for {name}"
        )
    if len(given) > 1:
        raise invalid_arg(
            "sequence batching specifies more than one from 'int32_false_true', 'fp32_false_true' and "
            f"'bool_false_true' for {kind} for {name}"
        )
    if len(getattr(control, given[0])) != 2:
        raise invalid_arg(
            f"sequence batching control '{given[0]}' must have exactly 2 entries for {kind} for {name}"
        )


def _check_correlation_id(control: Proto, kind: str, name: str) -> None:
    if any(getattr(control, field) for field in _FALSE_TRUE):
        raise invalid_arg(
            "sequence batching must not specify either 'int32_false_true', 'fp32_false_true' or 'bool_false_true' for "
            f"{kind} for {name}"
        )


def _check_correlation_id_type(config: Proto) -> None:
    for tensor in config.sequence_batching.control_input:
        for control in tensor.control:
            wanted = enum_name(control, "kind") != _CORRELATION_ID
            if not wanted and enum_name(control, "data_type") not in _CORRELATION_ID_TYPES:
                raise invalid_arg(
                    f"unexpected data type for control {_CORRELATION_ID} for {config.name}. Allowed data types are "
                    "TYPE_UINT64, TYPE_INT64, TYPE_UINT32, TYPE_INT32 and TYPE_STRING"
                )
