"""A target: one model on one server, and what has been read about it. The only state that the adapter keeps."""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from triton_adapter.credentials import credentials
from triton_adapter.errors import (
    AdapterError,
    APIConnectionError,
    BadRequestError,
    NotFoundError,
    PermissionDeniedError,
    RequestError,
)
from triton_adapter.profiles.binding import Binding, bare_info, bind
from triton_adapter.settings import DEFAULTS, Settings
from triton_adapter.steps import HttpRequest, Sleep, Steps
from triton_adapter.tls import Tls, context
from triton_adapter.triton.api_base import ApiBase, parse_api_base
from triton_adapter.triton.discovery import ModelInfo, discover

# Refusals by Triton that suggest that the model has changed since it was read.
_MISMATCH = re.compile(
    r"unexpected shape|data-type is|unexpected inference (in|out)put|missing required input|input byte size mismatch"
    r"|decoupled transaction policy|exactly 1 response|is not found|no available versions|Unable to parse|^Not Found$"
    r"|^no /v2/models|batch-size must be|batch size does not match|has no shape"
)
# Characters that every gateway leaves as they are in a path. A client may have chosen the name (a wildcard).
_NAME = re.compile(r"[^\x00-\x20/\\?#%\"'<>\x7f]+")
_DECOUPLED = re.compile(r"decoupled transaction policy|exactly 1 response")
_NOTHING = re.compile(r"(?!)")
LONGEST_WAIT = 60.0
_OURS = {name.lower(): name for name in ("Authorization", "Content-Type", "Host", "User-Agent")}


@dataclass(slots=True)
class Target:
    """Where requests go. Times are seconds.

    `timeout` bounds a whole reply, `silence` the wait between two parts of a stream (None: as `timeout`); `retries`
    counts attempts after the first, `retry_delay` is the first back-off.
    """

    api_base: ApiBase
    model: str
    settings: Settings = DEFAULTS
    #: may hold a key, which a repr must not show
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 600.0
    silence: float | None = None
    retries: int = 2
    retry_delay: float = 0.5
    tls: Tls | None = None
    binding: Binding | None = None
    info: ModelInfo | None = None
    unknown: AdapterError | None = None
    urls: dict[str, str] = field(default_factory=dict)
    #: finds the credentials that requests carry; made when the first error is told
    hidden: re.Pattern[str] | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        model: str,
        api_base: str,
        *,
        settings: Mapping[str, Any] | Settings | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        **rest: Any,
    ) -> "Target":
        """Return the target of `triton/NAME` at any form of `api_base`. RequestError if either cannot be used."""
        base = parse_api_base(api_base)
        chosen = settings if isinstance(settings, Settings) else Settings.read(settings or {})
        sent = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        name = base.model or model.removeprefix("triton/")
        if name in (".", "..") or not _NAME.fullmatch(name):
            raise NotFoundError(
                f"'{name}' cannot be the name of a model on Triton: write triton/NAME", param="model"
            )
        tls = None
        if (chosen.ssl_verify, chosen.ssl_certificate) != (None, None):
            tls = Tls(chosen.ssl_verify is None or chosen.ssl_verify, chosen.ssl_certificate, chosen.ssl_key)
            context(tls)  # raises now if a file cannot be used
        # Names that differ in case are the same header, which must be sent once.
        own = {_OURS.get(header.lower(), header): text for header, text in (headers or {}).items()}
        if not {"content-length", "transfer-encoding"}.isdisjoint(map(str.lower, own)):
            raise BadRequestError("a body's length cannot be set by a header", param="extra_headers")
        return cls(base, name, chosen, {**sent, **own}, tls=tls, **rest)

    @property
    def version(self) -> str | None:
        """The model version that is asked for, if one is."""
        return self.settings.model_version or self.api_base.version

    def hide(self, text: str) -> str:
        """Return a text with `***` in the place of the credentials that requests carry; see `credentials`."""
        if self.hidden is None:
            self.hidden = credentials(self.api_base.query, self.headers) or _NOTHING
        return self.hidden.sub("***", text)

    def url(self, operation: str) -> str:
        """Return the URL of an operation of the model: infer, generate or generate_stream."""
        url = self.urls.get(operation)
        if url is None:
            version = f"/versions/{self.version}" if self.version else ""
            url = self.api_base.url(f"/v2/models/{self.model}{version}/{operation}")
            self.urls[operation] = url
        return url

    def get(self, path: str) -> HttpRequest:
        """Return a request for a `/v2` path of the server."""
        return HttpRequest(
            "GET", self.api_base.url(path), headers=self.headers, timeout=self.timeout, tls=self.tls
        )

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, stream: bool = False) -> HttpRequest:
        """Return a request of the model; with `stream` a successful reply's body is left unread."""
        sent = {**headers, **self.headers} if self.headers else headers
        silence = self.silence or self.timeout if stream else None
        return HttpRequest("POST", url, body, sent, stream, self.timeout, silence, self.tls)

    def read_info(self) -> Steps:
        """Read the model's metadata and config, as steps, and keep them. None if only a bare URL is known."""
        try:
            self.info = yield from self.retrying(
                lambda: discover(self.get, self.model, self.version, self.api_base.server)
            )
            self.unknown = None
        except AdapterError as error:
            known = self.settings.profile and isinstance(error, PermissionDeniedError)
            if not known and (self.api_base.bare is None or _is_final(error)):
                raise
            self.info, self.unknown = None, error
        return self.info

    def bind(self) -> Steps:
        """Return the binding of the model, as steps: read once, then kept."""
        if self.binding is not None:
            return self.binding
        info = yield from self.read_info()
        self.binding = self._bound(info)
        return self.binding

    def refreshed(self, error: AdapterError, *, bind: bool = True) -> Steps:
        """Read the model again after a refusal. True if it has changed, so that another attempt makes sense."""
        if not _MISMATCH.search(error.message):
            return False
        before = self.info
        self.binding = None
        info = yield from self.read_info()
        if info == before and info is not None and not info.decoupled and _DECOUPLED.search(error.message):
            info = self.info = replace(
                info, decoupled=True
            )  # the config cannot be read, but the refusal says it
        if bind:
            self.binding = self._bound(info)
        changed: bool = info != before
        return changed

    def retrying(self, steps: Callable[[], Steps]) -> Steps:
        """Run steps again, with back-off or after Triton's Retry-After, while they fail with a retryable error.

        If a connection breaks before a byte has come, the request is repeated once at once, whatever `retries` says:
        this happens when the server has just closed a kept connection. It may happen again after every answer.
        """
        attempt, repeated = 0, False
        while True:
            try:
                return (yield from steps())
            except AdapterError as error:
                wait = error.retry_after
                broken = error.retryable and isinstance(error, APIConnectionError)
                if broken and not repeated:
                    repeated = True
                    continue
                if attempt >= self.retries or not error.retryable or (wait or 0) > LONGEST_WAIT:
                    raise
                if wait is None:
                    wait = min(8.0, self.retry_delay * 2**attempt) * random.uniform(0.75, 1.0)
                attempt += 1
                repeated = broken
            yield Sleep(wait)

    def _bound(self, info: ModelInfo | None) -> Binding:
        base = self.api_base
        if info is not None:
            return bind(info, self.settings, base.operation)
        assumed = bare_info(self.settings, self.model)
        return bind(assumed, self.settings, base.operation or "generate", base.bare or self.url("generate"))


def _is_final(error: AdapterError) -> bool:
    """Tell whether a failed discovery means that no request can succeed, be it under `/v2` or not."""
    return error.retryable or error.status_code in (401, 403, 504) or not isinstance(error, RequestError)
