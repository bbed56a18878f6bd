"""Runs the requests to an ensemble. `run` tells how."""

from collections.abc import Callable, Sequence
from functools import partial

from triton_emulator.backends.ensemble.limited_run import LimitedRun
from triton_emulator.backends.ensemble.limits import StepLimit
from triton_emulator.backends.ensemble.plan import Plan
from triton_emulator.backends.ensemble.run import Ensemble, Members, Run
from triton_emulator.engine.call import Call
from triton_emulator.engine.executor import ModelDefinition


class EnsembleExecutor:
    """The engine's Executor for an ensemble. It runs on the event loop; members run where their own executors do."""

    instances = 1

    def __init__(self, definition: ModelDefinition, members: Members) -> None:
        plan = Plan.of(definition.config)
        ensemble = Ensemble(definition, plan, members)
        self._run: Callable[[Call], Run] = partial(Run, ensemble)
        # versions before 2.63 have no such field
        places = getattr(definition.config.proto.ensemble_scheduling, "max_inflight_requests", 0)
        if places:
            limits = tuple(StepLimit(places) for _ in plan.steps)
            shared = limits if definition.rules.ensemble_limits_shared else None
            self._run = partial(LimitedRun, shared, places, ensemble)

    def execute(self, calls: Sequence[Call], instance: int) -> None:
        for call in calls:
            self._run(call).start()

    def finalize(self) -> None:
        """Nothing to release: the members are models of their own."""
