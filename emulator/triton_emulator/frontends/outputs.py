"""An output as the client asked for it: as it is, as its top classes, or written to shared memory."""

from triton_emulator.engine.loaded_model import LoadedModel
from triton_emulator.protocol.classification import classify
from triton_emulator.protocol.errors import internal
from triton_emulator.protocol.messages import InferRequest
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.session.world import World


def requested(world: World, model: LoadedModel, request: InferRequest, tensor: Tensor) -> Tensor:
    """What goes into the response. Raises TritonError where shared memory is too small or classes are not to be had."""
    output = next((output for output in request.outputs if output.name == tensor.name), None)
    if output is None:
        return tensor
    ref = output.shared_memory
    if ref is not None:
        if tensor.byte_size > ref.byte_size:
            raise internal(
                f"shared memory size specified with the request for output '{tensor.name}' ({ref.byte_size} bytes) "
                f"should be at least {tensor.byte_size} bytes to hold the results"
            )
        world.system_shared_memory.write(ref, tensor.data)
    if output.classification:
        labels = model.labels.get(tensor.name, ())
        return classify(tensor, output.classification, labels, batching=model.config.max_batch_size > 0)
    return tensor
