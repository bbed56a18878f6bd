"""grpc.health.v1.Health/Check. The service that is asked for does not matter (2.51); there is no Watch."""

from triton_emulator.frontends.grpc.messages import health_class
from triton_emulator.repository.schema import Proto
from triton_emulator.session.world import World


def check(world: World, request: Proto) -> Proto:
    return health_class("HealthCheckResponse")(status="SERVING" if world.ready else "NOT_SERVING")
