"""The router: chooses the deployment that answers, retries, and falls back to another group.

Only opening an answer passes through here, so nothing is tried again after a byte of the answer was sent.
"""

import asyncio
import logging
import random
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any, Generic, TypeVar

from triton_adapter import errors
from triton_adapter.errors import AdapterError, RateLimitError, RequestError, ServerError
from triton_adapter.proxy.config.values import RouterConfig
from triton_adapter.proxy.deployments import Catalog, Deployment, Group
from triton_adapter.proxy.metrics import Metrics

log = logging.getLogger("triton_proxy")
# Seconds before a retry: the first and the longest back-off, and the longest Retry-After that is obeyed.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 8.0
LONGEST_WAIT = 60.0
# How the engines that Triton runs say that a prompt is too long.
_TOO_LONG = re.compile(
    r"maximum (context|input|model) length|max_(model|input|seq)_len|context window", re.IGNORECASE
)


Result = TypeVar("Result")


@dataclass(slots=True)
class Outcome(Generic[Result]):
    """Which deployment answered, with what, and after how many retries and fallbacks."""

    deployment: Deployment
    result: Result
    retries: int = 0
    fallbacks: int = 0


Strategy = Callable[[list[Deployment], float], Deployment]


def shuffle(candidates: list[Deployment], now: float) -> Deployment:
    """Draw by `weight`, or by `rpm` or `tpm` where those are given, else evenly."""
    for name in ("weight", "rpm", "tpm"):
        weights = [getattr(one.entry, name) for one in candidates]
        if any(weights):
            return random.choices(candidates, [weight or 0 for weight in weights])[0]
    return random.choice(candidates)


def least_busy(candidates: list[Deployment], now: float) -> Deployment:
    """Take the one with the fewest running requests."""
    return min(candidates, key=lambda one: one.meter.running)


def fastest(candidates: list[Deployment], now: float) -> Deployment:
    """Take the one with the lowest latency; one that was never tried comes first."""
    return min(candidates, key=lambda one: one.latency or 0.0)


def least_used(candidates: list[Deployment], now: float) -> Deployment:
    """Take the one with the fewest tokens in the current minute, then the fewest requests."""
    return min(candidates, key=lambda one: (one.meter.used(now), one.meter.requests, one.meter.running))


STRATEGY: dict[str, Strategy] = {
    "simple-shuffle": shuffle,
    "least-busy": least_busy,
    "latency-based-routing": fastest,
    "usage-based-routing": least_used,
    "usage-based-routing-v2": least_used,
}


class Router:
    """Opens answers. The deployment of an `Outcome` counts as busy until `done` is called."""

    def __init__(self, config: RouterConfig, catalog: Catalog, metrics: Metrics) -> None:
        self.config = config
        self.catalog = catalog
        self.metrics = metrics
        self._strategy = STRATEGY[config.strategy]
        self._policy = {getattr(errors, name): count for name, count in config.retry_policy.items()}

    def __repr__(self) -> str:
        now = monotonic()
        every = list(self.catalog.entries())
        cooling = sum(one.cooling(now) for one in every)
        running = sum(one.meter.running for one in every)
        return (
            f"<Router {self.config.strategy} [{len(every)} deployments, {cooling} cooling down,"
            f" {running} requests running]>"
        )

    async def open(self, group: Group, ask: Callable[[Deployment], Awaitable[Result]]) -> Outcome[Result]:
        """Return the first answer that could be opened; `ask` asks one deployment for it.

        If none could be opened, the AdapterError of the group that was asked for is raised.
        """
        try:
            return await self._open_within(group, ask)
        except AdapterError as error:
            first = error
        for at, name in enumerate(self._fallbacks(group, first), 1):
            try:
                self.metrics.fallback(group.label)
                outcome = await self._open_within(self.catalog.find(name), ask)
            except AdapterError:
                continue
            outcome.fallbacks = at
            return outcome
        raise first

    def done(self, outcome: Outcome[Any], tokens: int) -> None:
        """Count an answer that has ended."""
        outcome.deployment.meter.end(tokens)

    async def _open_within(
        self, group: Group, ask: Callable[[Deployment], Awaitable[Result]]
    ) -> Outcome[Result]:
        tried: list[Deployment] = []
        retries = 0
        while True:
            now = monotonic()
            deployment = self.pick(group, now, tried)
            deployment.meter.begin(now)
            try:
                result = await ask(deployment)
            except AdapterError as error:
                deployment.meter.end(0)
                self.failed(group, deployment, error, monotonic())
                tried.append(deployment)
                pause = self._pause(group, deployment, error, tried, retries)
                if pause is None:
                    raise
            except BaseException:
                deployment.meter.end(0)
                raise
            else:
                taken = monotonic() - now
                deployment.fails = 0
                past = deployment.latency
                deployment.latency = taken if past is None else 0.8 * past + 0.2 * taken
                return Outcome(deployment, result, retries)
            retries += 1
            self.metrics.retry(group.label)
            if pause:
                await asyncio.sleep(pause)

    def pick(self, group: Group, now: float, tried: list[Deployment]) -> Deployment:
        """Return the deployment to ask next: untried before tried, then by order, then by the strategy.

        RateLimitError if every one has used up its limits. If all are cooling down, ServiceUnavailableError lets the
        group's fallback answer; if there is none, the one whose cool-down ends first is returned.
        """
        everyone = group.deployments
        if len(everyone) == 1:
            candidates = everyone
        else:
            candidates = [one for one in everyone if one not in tried] or everyone
        refusal: tuple[str, float] | None = None
        free = []
        for one in candidates:
            told = one.meter.refusal(now)
            if told is None:
                free.append(one)
            elif refusal is None or told[1] < refusal[1]:
                refusal = told
        if refusal is not None and not free:
            raise RateLimitError(
                f"The model is at its limit of {refusal[0]}; try again later", retry_after=refusal[1]
            )
        if len(free) == 1:
            return free[0]
        awake = [one for one in free if not one.cooling(now)]
        if not awake:
            if not tried and self._has_fallback(group):
                raise errors.ServiceUnavailableError("The model is not available; try again later")
            return min(free, key=lambda one: one.cooled_until)
        order = min(one.entry.order for one in awake)
        return self._strategy([one for one in awake if one.entry.order == order], now)

    def failed(self, group: Group, deployment: Deployment, error: AdapterError, now: float) -> None:
        """Count a failure; cool the deployment down if that makes too many in a row, or if it asked for a pause."""
        if isinstance(error, RequestError) and error.upstream is None:
            return  # refused by the adapter itself: no deployment was asked
        self.metrics.upstream_error(group.label, deployment.id, error)
        log.debug("%s %s at deployment %s", error.status_code, error.code or error.type, deployment.id)
        if isinstance(error, RequestError) and error.status_code not in (401, 403, 429):
            return
        deployment.fails += 1
        asked = error.retry_after if error.status_code in (429, 503) else None
        if asked or error.status_code == 429 or deployment.fails > self.config.allowed_fails:
            pause = max(self.config.cooldown_time, min(asked or 0.0, LONGEST_WAIT))
            deployment.cooled_until = now + pause

    def _pause(
        self, group: Group, deployment: Deployment, error: AdapterError, tried: list[Deployment], retries: int
    ) -> float | None:
        """Return the seconds until the next attempt, or None if there is no further attempt."""
        ruled = next((count for kind, count in self._policy.items() if isinstance(error, kind)), None)
        limit = ruled
        if limit is None:
            own = deployment.entry.max_retries
            limit = self.config.num_retries if own is None else own
        if retries >= limit:
            return None
        elsewhere = any(one not in tried for one in group.deployments)
        if elsewhere and (isinstance(error, ServerError) or error.status_code in (401, 403, 404, 429)):
            return 0.0
        if not error.retryable and ruled is None:
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= LONGEST_WAIT else None
        backoff = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**retries) * random.uniform(0.75, 1.0)
        return max(self.config.retry_after, backoff)

    def _fallbacks(self, group: Group, error: AdapterError) -> Iterator[str]:
        config = self.config
        if isinstance(error, RequestError) and error.status_code not in (401, 403, 404, 429):
            if _TOO_LONG.search(error.message):
                yield from config.context_window_fallbacks.get(group.name, ())
            return
        yield from config.fallbacks.get(group.name) or config.fallbacks.get("*") or config.default_fallbacks

    def _has_fallback(self, group: Group) -> bool:
        config = self.config
        return bool(config.fallbacks.get(group.name) or config.fallbacks.get("*") or config.default_fallbacks)
