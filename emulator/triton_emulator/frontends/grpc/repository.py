"""The model repository extension: index, load, unload."""

from triton_emulator.frontends.grpc.messages import mapping, message_class
from triton_emulator.protocol.errors import invalid_arg, unsupported
from triton_emulator.repository.config.raw_text import from_text
from triton_emulator.repository.schema import Proto
from triton_emulator.session.state import SessionState


def index(session: SessionState, request: Proto) -> Proto:
    _refuse_repository_name(request)
    rows = [row.as_dict() for row in session.repository.index(ready=request.ready)]
    models = [{key: from_text(value) for key, value in row.items()} for row in rows]
    return message_class("RepositoryIndexResponse")(models=models)


def load(session: SessionState, request: Proto) -> Proto:
    """Blocks until the model is loaded."""
    _refuse_repository_name(request)
    session.require_model_control()
    session.repository.load(request.model_name, _load_parameters(request))
    return message_class("RepositoryModelLoadResponse")()


def unload(session: SessionState, request: Proto) -> Proto:
    """Returns once the unload has begun; the model's last requests may finish later."""
    _refuse_repository_name(request)
    dependents = False
    value = mapping(request.parameters).get("unload_dependents")
    if value is not None:
        if value.WhichOneof("parameter_choice") != "bool_param":
            raise invalid_arg("invalid value type for 'unload_dependents' parameter, expected bool_param.")
        dependents = value.bool_param
    session.require_model_control()
    session.repository.unload(request.model_name, unload_dependents=dependents)
    return message_class("RepositoryModelUnloadResponse")()


def _refuse_repository_name(request: Proto) -> None:
    if request.repository_name:
        raise unsupported("'repository_name' specification is not supported")


def _load_parameters(request: Proto) -> dict[str, str | bytes]:
    found: dict[str, str | bytes] = {}
    for key, value in mapping(request.parameters).items():
        if key == "config":
            kind = "string_param"
        elif key.startswith("file:"):
            kind = "bytes_param"
        else:
            raise invalid_arg(f"unrecognized load parameter '{key}'.")
        if value.WhichOneof("parameter_choice") != kind:
            raise invalid_arg(f"invalid value type for load parameter '{key}', expected {kind}.")
        found[key] = getattr(value, kind)
    return found
