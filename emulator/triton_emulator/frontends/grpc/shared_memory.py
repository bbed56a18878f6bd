"""The shared memory extensions. A request without a name means all regions; a region may be registered without one."""

from triton_emulator.frontends.grpc.messages import message_class
from triton_emulator.repository.schema import Proto
from triton_emulator.session.shared_memory import CUDA_HANDLE_SIZE
from triton_emulator.session.state import SessionState


def system_status(session: SessionState, request: Proto) -> Proto:
    reply = message_class("SystemSharedMemoryStatusResponse")()
    for region in session.system_shared_memory.status(request.name or None):
        row = reply.regions[region.name]
        row.name, row.key = region.name, region.key
        row.offset, row.byte_size = region.offset, region.byte_size
    return reply


def system_register(session: SessionState, request: Proto) -> Proto:
    session.require_client_shared_memory()
    key = request.key.partition("\0")[0]  # 2.51: a C string
    session.system_shared_memory.register(request.name, key, request.offset, request.byte_size)
    return message_class("SystemSharedMemoryRegisterResponse")()


def system_unregister(session: SessionState, request: Proto) -> Proto:
    session.require_client_shared_memory()
    if request.name:
        session.system_shared_memory.unregister(request.name)
    else:
        session.system_shared_memory.unregister_all()
    return message_class("SystemSharedMemoryUnregisterResponse")()


def cuda_status(session: SessionState, request: Proto) -> Proto:
    session.cuda_shared_memory.status(request.name or None)
    return message_class("CudaSharedMemoryStatusResponse")()


def cuda_register(session: SessionState, request: Proto) -> Proto:
    session.require_client_shared_memory()
    # 2.51 does not check the handle's length over gRPC, as it does over HTTP
    handle = bytes(CUDA_HANDLE_SIZE)
    session.cuda_shared_memory.register(request.name, handle, request.device_id, request.byte_size)
    return message_class("CudaSharedMemoryRegisterResponse")()


def cuda_unregister(session: SessionState, request: Proto) -> Proto:
    session.require_client_shared_memory()
    if request.name:
        session.cuda_shared_memory.unregister(request.name)
    else:
        session.cuda_shared_memory.unregister_all()
    return message_class("CudaSharedMemoryUnregisterResponse")()
