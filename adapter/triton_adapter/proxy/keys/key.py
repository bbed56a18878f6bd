"""A virtual key: what it may do, and what it has used. Only the SHA-256 of the secret is kept."""

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

from triton_adapter.proxy.limits import Meter

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "mo": 30 * 86400}
_DURATION = re.compile(r"(\d{1,9})(s|mo|m|h|d|w)", re.ASCII)
CENTURY = 36525 * 86400

# Seconds by which a clock may be set back without a period being taken for one that cannot be.
SET_BACK = 60.0


@dataclass(frozen=True, slots=True)
class Period:
    """A change of a budget period: its end before and now, and when it began. In seconds since 1970.

    `began` is None if no period has begun and only the end has moved.
    """

    before: float
    end: float
    began: float | None

    @property
    def fresh(self) -> bool:
        """Whether nothing is used of it yet."""
        return self.began is not None

    def follows(self, end: float | None) -> bool:
        """Tell whether a row of the file with this end still needs the change.

        It does not if another process has begun this period or has set another end. It does if another process has
        begun an earlier period.
        """
        return end is not None and (end == self.before or (self.began is not None and end <= self.began))

    def then(self, later: "Period") -> "Period":
        """Return this change and a later one as one."""
        return Period(self.before, later.end, self.began if later.began is None else later.began)


@dataclass(slots=True)
class Key:
    """One key. Times are seconds since 1970; `models` empty: every model; budgets and limits None: any number."""

    token_id: str
    key_name: str
    key_alias: str | None = None
    models: list[str] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    created_at: float = 0.0
    expires: float | None = None
    blocked: bool = False
    rpm_limit: int | None = None
    tpm_limit: int | None = None
    max_parallel_requests: int | None = None
    request_budget: int | None = None
    token_budget: int | None = None
    budget_duration: str | None = None
    budget_reset_at: float | None = None
    requests_used: int = 0
    tokens_used: int = 0
    user_id: str | None = None
    team_id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    meter: Meter = field(default_factory=Meter, compare=False)

    def __post_init__(self) -> None:
        meter = self.meter
        meter.rpm, meter.tpm, meter.parallel = self.rpm_limit, self.tpm_limit, self.max_parallel_requests

    def begin_due_period(self, now: float) -> Period | None:
        """Begin a new budget period, with nothing used, if the last one is over; return it.

        A period that ends later than its length from now was begun while the clock was wrong. It would last until the
        clock is there again, so its end is moved; what was used of it stays used.
        """
        before = self.budget_reset_at
        if before is None or self.budget_duration is None:
            return None
        length = seconds_of(self.budget_duration)
        if now >= before:
            began = before + int((now - before) // length) * length
            self.budget_reset_at = began + length
            self.requests_used = self.tokens_used = 0
            return Period(before, self.budget_reset_at, began)
        if before - now > length + SET_BACK:
            self.budget_reset_at = now + length
            return Period(before, self.budget_reset_at, None)
        return None

    def allows(self, *names: str) -> bool:
        """Tell whether the key may use a model that goes by these names."""
        if not self.models:
            return True
        for allowed in self.models:
            before, star, after = allowed.partition("*")
            for name in names:
                if name == allowed or (star and name.startswith(before) and name.endswith(after)):
                    return True
        return False


def token_id(key: str | bytes) -> str:
    """Return the name a key goes by in the store and in answers: its SHA-256 in hex."""
    return hashlib.sha256(key.encode() if isinstance(key, str) else key).hexdigest()


def masked(key: str) -> str:
    """Return a key's last four characters, enough to tell keys apart."""
    return f"sk-...{key[-4:]}"


def seconds_of(duration: str) -> int:
    """Return the seconds of `30s`, `15m`, `12h`, `30d`, `2w` or `1mo` (30 days).

    ValueError for other texts and for more than a hundred years.
    """
    found = _DURATION.fullmatch(duration)
    if found is None or int(found[1]) == 0:
        raise ValueError("a duration is a number and s, m, h, d, w or mo, such as 30d")
    seconds = int(found[1]) * _UNITS[found[2]]
    if seconds > CENTURY:
        raise ValueError("a duration must be a hundred years or less")
    return seconds
