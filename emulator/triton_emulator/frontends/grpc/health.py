"""grpc.health.v1.Health/Check. 2.51 ignores the name of the service and has no Watch."""

from triton_emulator.frontends.grpc.messages import health_class
from triton_emulator.repository.schema import Proto
from triton_emulator.session.state import SessionState


def check(session: SessionState, request: Proto) -> Proto:
    return health_class("HealthCheckResponse")(status="SERVING" if session.ready else "NOT_SERVING")
