"""The routes under /v2/systemsharedmemory and /v2/cudasharedmemory."""

from triton_emulator.cxx import base64
from triton_emulator.frontends.http.request import Request
from triton_emulator.protocol import json_dialect as js
from triton_emulator.protocol.errors import invalid_arg
from triton_emulator.protocol.json_access import Absent, find
from triton_emulator.session.shared_memory import CudaSharedMemory, SystemSharedMemory
from triton_emulator.wire.reply import Reply, json_reply

_EMPTY = json_reply(b"")


def system_status(request: Request) -> Reply:
    regions = request.session.system_shared_memory.status(request.captures.region)
    rows = [
        {"name": region.name, "key": region.key, "offset": region.offset, "byte_size": region.byte_size}
        for region in regions
    ]
    return json_reply(js.write(rows))


def system_register(request: Request) -> Reply:
    request.session.require_client_shared_memory()
    name = _region_name(request, "system")
    document = request.document()
    key = js.as_string(_field(document, "key")).partition("\0")[0]  # 2.51: a C string
    offset = find(document, "offset")
    start = 0 if isinstance(offset, Absent) else js.as_uint(offset)
    byte_size = js.as_uint(_field(document, "byte_size"))
    request.session.system_shared_memory.register(name, key, start, byte_size)
    return _EMPTY


def system_unregister(request: Request) -> Reply:
    return _unregister(request, request.session.system_shared_memory)


def cuda_status(request: Request) -> Reply:
    request.session.cuda_shared_memory.status(request.captures.region)
    return json_reply(b"[]")


def cuda_register(request: Request) -> Reply:
    request.session.require_client_shared_memory()
    name = _region_name(request, "cuda")
    document = request.document()
    encoded = js.as_string(js.member(_field(document, "raw_handle"), "b64"))
    byte_size = js.as_uint(js.member(document, "byte_size"))
    device_id = js.as_uint(js.member(document, "device_id"))
    request.session.cuda_shared_memory.register(name, base64.decode(encoded), device_id, byte_size)
    return _EMPTY


def cuda_unregister(request: Request) -> Reply:
    return _unregister(request, request.session.cuda_shared_memory)


def _unregister(request: Request, memory: SystemSharedMemory | CudaSharedMemory) -> Reply:
    request.session.require_client_shared_memory()
    name = request.captures.region
    if name is None:
        memory.unregister_all()
    else:
        memory.unregister(name)
    return _EMPTY


def _region_name(request: Request, kind: str) -> str:
    name = request.captures.region
    if name is None:
        raise invalid_arg(f"'region name' is necessary to register {kind} shared memory region")
    return name


def _field(document: js.Value, key: str) -> js.Value:
    value = find(document, key)
    if isinstance(value, Absent):
        raise invalid_arg(f"Shared memory register request has no '{key}' field")
    return value
