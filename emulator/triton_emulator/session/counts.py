"""Counts requests: one event of each, folded into all that is shown of them.

A model's statistics belong to the model, its summaries to the reporter of its metrics. Failures and cache uses are
counted for the whole session, as they outlive their models.
"""

import asyncio
from functools import partial

from triton_emulator.engine.call import Call
from triton_emulator.engine.loaded_model import LoadedModel
from triton_emulator.engine.mailbox import Mailbox
from triton_emulator.engine.statistics import CacheCounts, FailureCounts, RequestEvent, reported
from triton_emulator.protocol.personality import Personality

#: seconds after which a decoupled model that is still at work after its last response is looked at again
_AGAIN_S = 0.01


class Counts:
    """The counts of one session, and the only way in which a request is counted."""

    def __init__(self, loop: asyncio.AbstractEventLoop, mailbox: Mailbox, rules: Personality) -> None:
        self._loop = loop
        self._mailbox = mailbox
        self._rules = rules
        self.cache = CacheCounts()
        self.failures = FailureCounts()

    def finish(self, call: Call, model: LoadedModel) -> None:
        """Count a request that has been answered, once its model is done with it. To be called on the event loop."""
        if call.executing:
            # 2.51: a decoupled model that raises after its last response has failed
            self._loop.call_later(_AGAIN_S, self.finish, call, model)
        else:
            self._fold(RequestEvent.of(call), model)

    def count(self, call: Call, model: LoadedModel) -> None:
        """Count a request as it is now, one that no client waits for; may be called on any thread."""
        self._mailbox.call(partial(self._fold, RequestEvent.of(call), model))

    def _fold(self, event: RequestEvent, model: LoadedModel) -> None:
        if event.failures and not self._rules.failure_reasons:
            event = event._replace(failures=reported(event.failures))
        model.statistics.fold(event)
        if event.failures:
            self.failures.fold(model.metric_labels, event.failures)
        if (summaries := model.reporter.summaries) is not None:
            summaries.fold(event)
        if event.cache is not None:
            self.cache.fold(event.cache)
