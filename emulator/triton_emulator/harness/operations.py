"""What a server can be asked, over HTTP, gRPC or both: one name for each, and the methods of gRPC that have another."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

HTTP, GRPC = "http", "grpc"
PROTOCOLS = (HTTP, GRPC)


@dataclass(frozen=True, slots=True)
class OperationKind:
    """What is particular to an operation.

    `infers`: a model is to compute. `of_model`: it is about one model. `streams`: the answer has any number of events.
    """

    name: str
    protocols: tuple[str, ...] = PROTOCOLS
    infers: bool = False
    of_model: bool = False
    streams: bool = False


_REGIONS = [
    f"{kind}_shared_memory_{action}"
    for kind in ("system", "cuda")
    for action in ("status", "register", "unregister")
]

#: every operation by its name
OPERATIONS: Mapping[str, OperationKind] = {
    kind.name: kind
    for kind in (
        OperationKind("infer", infers=True, of_model=True),
        OperationKind("generate", (HTTP,), infers=True, of_model=True),
        OperationKind("generate_stream", (HTTP,), infers=True, of_model=True, streams=True),
        OperationKind("stream_infer", (GRPC,), infers=True, of_model=True, streams=True),
        OperationKind("server_live"),
        OperationKind("server_ready"),
        OperationKind("health_check", (GRPC,)),
        OperationKind("server_metadata"),
        OperationKind("model_ready", of_model=True),
        OperationKind("model_metadata", of_model=True),
        OperationKind("model_config", of_model=True),
        OperationKind("model_statistics", of_model=True),
        OperationKind("trace_setting"),
        OperationKind("logging"),
        *map(OperationKind, _REGIONS),
        OperationKind("repository_index"),
        OperationKind("repository_load", of_model=True),
        OperationKind("repository_unload", of_model=True),
    )
}

#: the operation of each method of gRPC's service, and of `grpc.health.v1.Health`
GRPC_METHODS: Mapping[str, str] = {
    "ModelInfer": "infer",
    "ModelStreamInfer": "stream_infer",
    "ServerLive": "server_live",
    "ServerReady": "server_ready",
    "Check": "health_check",
    "ServerMetadata": "server_metadata",
    "ModelReady": "model_ready",
    "ModelMetadata": "model_metadata",
    "ModelConfig": "model_config",
    "ModelStatistics": "model_statistics",
    "TraceSetting": "trace_setting",
    "LogSettings": "logging",
    "SystemSharedMemoryStatus": "system_shared_memory_status",
    "SystemSharedMemoryRegister": "system_shared_memory_register",
    "SystemSharedMemoryUnregister": "system_shared_memory_unregister",
    "CudaSharedMemoryStatus": "cuda_shared_memory_status",
    "CudaSharedMemoryRegister": "cuda_shared_memory_register",
    "CudaSharedMemoryUnregister": "cuda_shared_memory_unregister",
    "RepositoryIndex": "repository_index",
    "RepositoryModelLoad": "repository_load",
    "RepositoryModelUnload": "repository_unload",
}


def check_operation(name: object) -> None:
    """Raise ValueError, with the nearest right name, for what is no operation, TypeError for what is no name."""
    if not isinstance(name, str):
        raise TypeError(f"operation is one name, such as 'generate', not {name!r}; make a plan for each")
    if name not in OPERATIONS:
        near = get_close_matches(name, OPERATIONS, n=1)
        advice = f"did you mean {near[0]!r}?" if near else f"the operations are {', '.join(OPERATIONS)}"
        raise ValueError(f"{name!r} is no operation; {advice}")


def check_protocol(name: str) -> None:
    """Raise ValueError for what is no protocol."""
    if name not in PROTOCOLS:
        raise ValueError(f"protocol is 'http' or 'grpc', not {name!r}")


def kinds_of(operation: str | None, protocol: str | None) -> list[tuple[OperationKind, str]]:
    """Every operation and protocol that a name of each, or None for any, stands for. Raises ValueError."""
    if operation is not None:
        check_operation(operation)
    if protocol is not None:
        check_protocol(protocol)
    kinds = OPERATIONS.values() if operation is None else (OPERATIONS[operation],)
    return [(kind, each) for kind in kinds for each in kind.protocols if protocol in (None, each)]
