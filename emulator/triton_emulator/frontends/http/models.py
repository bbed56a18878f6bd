"""The health, metadata, configuration and statistics of the server and of its models."""

from triton_emulator.frontends.http.errors import untyped_error
from triton_emulator.frontends.http.request import Request
from triton_emulator.protocol.errors import TritonError, invalid_arg, unavailable
from triton_emulator.protocol.json_dialect import write
from triton_emulator.session.statistics import model_stats
from triton_emulator.wire.reply import Reply, json_reply, untyped


def server_live(request: Request) -> Reply:
    return untyped(200)


def exiting(request: Request) -> Reply:
    """The health of a server that stops."""
    return untyped_error(unavailable("Server exiting"), request.session.personality)


def not_ready(request: Request) -> Reply:
    """What a server that stops answers about its models."""
    raise unavailable("Server not ready")


def model_not_ready(request: Request) -> Reply:
    """The health of a model of such a server."""
    return untyped_error(unavailable("Server not ready"), request.session.personality)


def server_ready(request: Request) -> Reply:
    return untyped(200 if request.session.ready else 400)


def server_metadata(request: Request) -> Reply:
    name, version, extensions = request.session.metadata
    return json_reply(write({"name": name, "version": version, "extensions": list(extensions)}))


def model_ready(request: Request) -> Reply:
    name, version = request.captures.name, request.captures.version
    try:
        ready = request.session.model_is_ready(name, version)
    except TritonError as error:
        return untyped_error(error, request.session.personality)
    if ready:
        return untyped(200)
    return untyped_error(invalid_arg("Model version not ready"), request.session.personality)


def model_metadata(request: Request) -> Reply:
    return json_reply(
        request.session.repository.metadata_json(request.captures.name, request.captures.version)
    )


def model_config(request: Request) -> Reply:
    return json_reply(request.session.repository.config_json(request.captures.name, request.captures.version))


def model_statistics(request: Request) -> Reply:
    """The statistics of one model, or of all models if the path names none."""
    name, version = request.captures.name, request.captures.version
    session = request.session
    responses = session.personality.response_statistics
    totals = session.totals and session.totals()
    listed = model_stats(session.repository, name, version, responses=responses, totals=totals)
    return json_reply(write({"model_stats": listed}))
