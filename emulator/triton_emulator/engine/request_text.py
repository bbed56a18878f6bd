"""A request in the words of tritonserver's verbose log."""

from triton_emulator.engine.call import Call
from triton_emulator.protocol.shapes import shape_text
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config.model_config import ModelConfig


def prepared(call: Call, config: ModelConfig) -> str:
    """What 2.51 logs with `--log-verbose=1` when a request has been checked. Inputs are in the request's order."""
    request = call.request
    batching = config.max_batch_size > 0
    inputs = "".join(_input(tensor, batching=batching) for tensor in request.inputs)
    asked = [output.name for output in request.outputs]
    outputs = asked or [output.name for output in config.outputs]
    return (
        f"{request.log_id}prepared: [0x0x{id(request):x}] request id: {request.id}, model: {config.name}, "
        f"requested version: {request.model_version or -1}, actual version: {call.version}, "
        f"flags: 0x{request.sequence_start + 2 * request.sequence_end:x}, correlation id: {request.sequence_id}, "
        f"batch size: {call.batch_size if batching else 0}, priority: {request.priority}, "
        f"timeout (us): {request.timeout}\n"
        f"original inputs:\n{inputs}override inputs:\ninputs:\n{inputs}"
        f"original requested outputs:\n{_lines(asked)}requested outputs:\n{_lines(outputs)}"
    )


def _input(tensor: Tensor, *, batching: bool) -> str:
    shape = shape_text(tensor.shape)
    without = shape_text(tensor.shape[1:]) if batching else shape
    return (
        f"[0x0x{id(tensor):x}] input: {tensor.name}, type: {tensor.datatype}, original shape: {shape}, "
        f"batch + shape: {shape}, shape: {without}\n"
    )


def _lines(names: list[str]) -> str:
    return "".join(f"{name}\n" for name in names)
