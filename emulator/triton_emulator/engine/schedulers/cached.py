"""`response_cache`: a request whose inputs were seen before is answered from the cache, without running the model."""

from triton_emulator.engine.call import CacheUse, Call
from triton_emulator.engine.response_cache import ResponseCache, key_of
from triton_emulator.engine.schedulers.plain import Scheduler
from triton_emulator.protocol.messages import InferResponse


class CachingScheduler:
    """Wraps a scheduler: answers from the cache, or passes the call on and stores its response."""

    def __init__(self, scheduler: Scheduler, cache: ResponseCache, *, errors: bool) -> None:
        """With `errors`, an error is stored too, as an answer without outputs (2.51: not for ensembles)."""
        self._scheduler = scheduler
        self._cache = cache
        self._errors = errors

    @property
    def any_thread(self) -> bool:
        return self._scheduler.any_thread

    @property
    def pending(self) -> int:
        return self._scheduler.pending

    def submit(self, call: Call) -> None:
        request = call.request
        key = key_of(request.model_name, call.version, request)
        start = call.now()
        outputs = self._cache.look_up(key)
        use = call.cache = CacheUse(outputs is not None, call.now() - start)
        if outputs is not None:
            call.times.started(start)
            response = InferResponse(request.model_name, str(call.version), request.id, list(outputs))
            call.respond(response, final=True)
            return

        def store(response: InferResponse | None, final: bool) -> None:
            if response is not None and (self._errors or response.error is None):
                began = call.now()
                use.inserted = self._cache.insert(key, list(response.outputs))
                use.insertion_ns = 0 if use.inserted is None else call.now() - began
            deliver(response, final)

        deliver = call.redirect(store)
        self._scheduler.submit(call)

    def stop(self) -> None:
        self._scheduler.stop()
