"""The shared memory extensions. A request without a name means all regions; a region may be registered without one."""

from triton_emulator.frontends.grpc.messages import message_class
from triton_emulator.repository.schema import Proto
from triton_emulator.session.shared_memory import CUDA_HANDLE_SIZE
from triton_emulator.session.world import World


def system_status(world: World, request: Proto) -> Proto:
    reply = message_class("SystemSharedMemoryStatusResponse")()
    for region in world.system_shared_memory.status(request.name or None):
        row = reply.regions[region.name]
        row.name, row.key = region.name, region.key
        row.offset, row.byte_size = region.offset, region.byte_size
    return reply


def system_register(world: World, request: Proto) -> Proto:
    key = request.key.partition("\0")[0]  # 2.51: a C string
    world.system_shared_memory.register(request.name, key, request.offset, request.byte_size)
    return message_class("SystemSharedMemoryRegisterResponse")()


def system_unregister(world: World, request: Proto) -> Proto:
    if request.name:
        world.system_shared_memory.unregister(request.name)
    else:
        world.system_shared_memory.unregister_all()
    return message_class("SystemSharedMemoryUnregisterResponse")()


def cuda_status(world: World, request: Proto) -> Proto:
    world.cuda_shared_memory.status(request.name or None)
    return message_class("CudaSharedMemoryStatusResponse")()


def cuda_register(world: World, request: Proto) -> Proto:
    # 2.51 does not look at the handle's length here, as it does over HTTP
    handle = bytes(CUDA_HANDLE_SIZE)
    world.cuda_shared_memory.register(request.name, handle, request.device_id, request.byte_size)
    return message_class("CudaSharedMemoryRegisterResponse")()


def cuda_unregister(world: World, request: Proto) -> Proto:
    if request.name:
        world.cuda_shared_memory.unregister(request.name)
    else:
        world.cuda_shared_memory.unregister_all()
    return message_class("CudaSharedMemoryUnregisterResponse")()
