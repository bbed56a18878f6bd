"""Limits: requests and tokens per minute, and requests at a time. Pure: the time is an argument, in seconds."""

from dataclasses import dataclass

MINUTE = 60.0


@dataclass(slots=True)
class Meter:
    """What one key or one deployment has used in its current minute, and what it may use (None: any number).

    A minute begins with the first request after the last one has ended. Tokens are known only when an answer is
    complete, so the request that crosses the token limit is still answered and the next one is refused.
    """

    rpm: int | None = None
    tpm: int | None = None
    parallel: int | None = None
    started: float = float("-inf")
    requests: int = 0
    tokens: int = 0
    running: int = 0

    def refusal(self, now: float) -> tuple[str, float] | None:
        """Return why a further request may not begin now, and in how many seconds to ask again; None if it may."""
        if self.parallel is not None and self.running >= self.parallel:
            return f"{self.parallel} requests at a time", 1.0
        if now - self.started >= MINUTE:
            return None
        if self.rpm is not None and self.requests >= self.rpm:
            return f"{self.rpm} requests per minute", self.started + MINUTE - now
        if self.tpm is not None and self.tokens >= self.tpm:
            return f"{self.tpm} tokens per minute", self.started + MINUTE - now
        return None

    def begin(self, now: float) -> None:
        """Count a request that begins."""
        if now - self.started >= MINUTE:
            self.started, self.requests, self.tokens = now, 0, 0
        self.requests += 1
        self.running += 1

    def end(self, tokens: int) -> None:
        """Count a request that has ended, and its tokens."""
        self.running -= 1
        self.tokens += tokens

    def used(self, now: float) -> int:
        """Return the tokens of the current minute."""
        return self.tokens if now - self.started < MINUTE else 0

    def headers(self, now: float) -> list[tuple[bytes, bytes]]:
        """Return OpenAI's x-ratelimit headers for the limits that are set."""
        found = []
        fresh = now - self.started >= MINUTE
        reset = b"0s" if fresh else b"%ds" % max(1, round(self.started + MINUTE - now))
        for name, limit, used in (
            (b"requests", self.rpm, self.requests),
            (b"tokens", self.tpm, self.tokens),
        ):
            if limit is not None:
                left = limit if fresh else max(0, limit - used)
                found += [
                    (b"x-ratelimit-limit-" + name, b"%d" % limit),
                    (b"x-ratelimit-remaining-" + name, b"%d" % left),
                    (b"x-ratelimit-reset-" + name, reset),
                ]
        return found
