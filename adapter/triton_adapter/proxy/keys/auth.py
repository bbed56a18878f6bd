"""Finds who sends a request: the holder of the master key or of a virtual key, or anyone if there is no master key."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass

from triton_adapter.errors import AuthenticationError, PermissionDeniedError, RateLimitError
from triton_adapter.proxy.config.values import Config, Mistake
from triton_adapter.proxy.keys.key import Key
from triton_adapter.proxy.keys.store import KeyStore

SHORTEST = 16
# Values from documentation and examples, which are not secrets.
_KNOWN = frozenset({"sk-1234", "sk-12345", "sk-123456", "sk-12345678", "sk-1234567890"})
_WORDS = ("changeme", "change-me", "masterkey", "master-key", "yourkey", "your-key", "password", "secret-key")
FIX = (
    "make one with: python -c \"import secrets; print('sk-' + secrets.token_urlsafe(32))\""
    " and set master_key: os.environ/MASTER_KEY; to try things out on this machine only,"
    " start with --allow-weak-master-key"
)


class QuotaError(RateLimitError):
    """429: a key's budget is used up, so an early retry does not help."""

    type = "insufficient_quota"
    code = "insufficient_quota"
    retryable = False


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sends a request. `key` is None for the master key's holder, and for anyone if there is no master key."""

    key: Key | None = None
    admin: bool = False


ANYBODY = Principal()
MASTER = Principal(admin=True)


def weakness(master_key: str) -> str | None:
    """Return why a master key is too weak, or None if it is not."""
    bare = master_key.lower()
    if bare in _KNOWN:
        return "is a publicly known default"
    if len(master_key) < SHORTEST:
        return f"has fewer than {SHORTEST} characters"
    if len(set(master_key)) < 8 or any(word in bare for word in _WORDS):
        return "is easy to guess"
    return None


def check_master_key(config: Config) -> Mistake | None:
    """Return what is wrong with a config's master key, with the fix."""
    if config.master_key is None or (reason := weakness(config.master_key)) is None:
        return None
    return Mistake(f"the master key {reason}: {FIX}", config.master_key_line, "general_settings.master_key")


class Authenticator:
    """Finds the principal of a request's headers."""

    def __init__(self, master_key: str | None, store: KeyStore) -> None:
        self.store = store
        # Keys are looked up by digest instead of compared, so that timing reveals nothing.
        self._master = hashlib.sha256(master_key.encode()).hexdigest() if master_key else None

    @property
    def open(self) -> bool:
        """Whether requests need no key."""
        return self._master is None

    async def principal(self, headers: Mapping[bytes, bytes]) -> Principal:
        """Return who is asking. AuthenticationError if the key is missing, unknown, blocked or expired.

        The file is looked at before a key is refused: another process may have made, unblocked or prolonged it.
        """
        if self._master is None:
            return ANYBODY
        given = headers.get(b"authorization")
        if given is not None:
            scheme, _, token = given.partition(b" ")
            token = token.strip() if scheme.lower() == b"bearer" else b""
        else:
            token = headers.get(b"x-api-key") or headers.get(b"api-key") or b""
        if not token:
            raise AuthenticationError(
                "You did not provide an API key: send it in the header Authorization: Bearer KEY"
            )
        digest = hashlib.sha256(token).hexdigest()
        if digest == self._master:
            return MASTER
        key = self.store.keys.get(digest)
        if key is None or _refusal(key) is not None:
            await self.store.look()
            key = self.store.keys.get(digest)
        if key is None:
            raise AuthenticationError("Incorrect API key provided")
        if (refusal := _refusal(key)) is not None:
            raise refusal
        return Principal(key)


def _refusal(key: Key) -> AuthenticationError | None:
    if key.blocked:
        return AuthenticationError("This API key is blocked", code="key_blocked")
    if key.expires is not None and time.time() >= key.expires:
        return AuthenticationError("This API key has expired", code="expired_key")
    return None


def require_admin(principal: Principal) -> None:
    """Raise PermissionDeniedError unless the master key was given."""
    if principal is ANYBODY:
        raise PermissionDeniedError("Keys can be managed once general_settings.master_key is set")
    if not principal.admin:
        raise PermissionDeniedError("Only the master key may do this")


def check_budget(key: Key, store: KeyStore) -> None:
    """Raise QuotaError if a key's budget is used up."""
    if key.request_budget is None and key.token_budget is None:
        return
    store.begin_due_period(key, time.time())
    for used, budget, what in (
        (key.requests_used, key.request_budget, "requests"),
        (key.tokens_used, key.token_budget, "tokens"),
    ):
        if budget is not None and used >= budget:
            wait = None if key.budget_reset_at is None else max(1.0, key.budget_reset_at - time.time())
            raise QuotaError(f"This API key has used up its budget of {budget} {what}", retry_after=wait)
