"""The health, metadata, configuration and statistics of the server and of its models."""

from typing import Any

from triton_emulator.frontends.grpc.messages import message_class
from triton_emulator.repository.config.from_json import parse_json_config
from triton_emulator.repository.config.model_config import TensorSpec
from triton_emulator.repository.config.raw_text import from_text, holds_raw
from triton_emulator.repository.metadata import metadata_platform
from triton_emulator.repository.schema import Proto
from triton_emulator.session.state import SessionState
from triton_emulator.session.statistics import model_stats


def server_live(session: SessionState, request: Proto) -> Proto:
    return message_class("ServerLiveResponse")(live=True)


def server_ready(session: SessionState, request: Proto) -> Proto:
    return message_class("ServerReadyResponse")(ready=session.ready)


def model_ready(session: SessionState, request: Proto) -> Proto:
    return message_class("ModelReadyResponse")(ready=session.model_is_ready(request.name, request.version))


def server_metadata(session: SessionState, request: Proto) -> Proto:
    name, version, extensions = session.metadata
    return message_class("ServerMetadataResponse")(name=name, version=version, extensions=extensions)


def model_metadata(session: SessionState, request: Proto) -> Proto:
    repository = session.repository
    served = repository.served(request.name, request.version)
    config = served.config
    versions = [served.version] if request.version else repository.ready_versions(request.name)
    return message_class("ModelMetadataResponse")(
        name=from_text(config.name),
        versions=[str(version) for version in versions],
        platform=from_text(metadata_platform(config)),
        inputs=[_tensor(spec) for spec in config.inputs],
        outputs=[_tensor(spec) for spec in config.outputs],
    )


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": from_text(spec.name), "datatype": spec.datatype, "shape": spec.shape}


def model_config(session: SessionState, request: Proto) -> Proto:
    served = session.repository.served(request.name, request.version)
    data = served.config.proto.SerializeToString()
    if holds_raw(data):  # 2.51: it is made from the JSON, in which such bytes are left out
        data = parse_json_config(served.config_json.decode()).SerializeToString()
    reply = message_class("ModelConfigResponse")()
    # The reply is of the newest version's schema, the config maybe of an older one's.
    reply.config.MergeFromString(data)
    return reply


def model_statistics(session: SessionState, request: Proto) -> Proto:
    reply = message_class("ModelStatisticsResponse")()
    totals = session.totals and session.totals()
    for entry in model_stats(session.repository, request.name, request.version, totals=totals):
        # This is the value of the HTTP answer: its keys are the message's fields. Fields that are zero are not sent.
        name = from_text(entry["name"])  # type: ignore[index, call-overload, arg-type]
        reply.model_stats.add(**{**entry, "name": name})  # type: ignore[dict-item]
    return reply
