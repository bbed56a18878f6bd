"""The errors, as one tree: RequestError is the caller's fault, ServerError is not.

Every error carries what an OpenAI error object needs (`message`, `type`, `param`, `code`, `status_code`) and
what an operator needs (`request_id`, `retry_after` in seconds). `message` is the sentence of Triton, or of a gateway
in front of it, if there is one; the module `credentials` says which keys are taken out of it. A sentence of ours holds
no URL of a server, no key and no traceback. `upstream` (the Triton base URL) is for logs, and no answer has it.
"""

from typing import Any


class AdapterError(Exception):
    """The root of the tree. `status_code` is the HTTP status that an OpenAI-compatible server answers with."""

    status_code = 500
    type = "server_error"
    code: str | None = None
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        param: str | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        upstream: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.request_id = request_id
        self.retry_after = retry_after
        self.upstream = upstream
        if status_code is not None:
            self.status_code = status_code
        if code is not None:
            self.code = code

    def to_dict(self) -> dict[str, Any]:
        """Return the OpenAI error object: `{"error": {"message", "type", "param", "code"}}`."""
        return {
            "error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code},
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.status_code}, {self.message!r}, request_id={self.request_id!r})"


class RequestError(AdapterError):
    """The caller's fault: the same request will fail again, except for 429."""

    status_code = 400
    type = "invalid_request_error"


class BadRequestError(RequestError):
    """400: a value is wrong, or Triton or the model refused it."""


class MissingParameterError(BadRequestError):
    """400: a required parameter is absent; `param` names it."""

    code = "missing_required_parameter"


class UnsupportedParameterError(BadRequestError):
    """400: the parameter cannot reach this model; `param` names it."""

    code = "unsupported_parameter"


class AuthenticationError(RequestError):
    """401: the credential is missing or wrong."""

    status_code = 401
    code = "invalid_api_key"


class PermissionDeniedError(RequestError):
    """403: the credential may not do this."""

    status_code = 403
    code = "permission_denied"


class NotFoundError(RequestError):
    """404: there is no such model, or no such version of it."""

    status_code = 404
    code = "model_not_found"


class RequestTooLargeError(RequestError):
    """413: the body is too large."""

    status_code = 413
    code = "request_too_large"


class RateLimitError(RequestError):
    """429: too many requests; `retry_after` says in how many seconds to try again, if that is known."""

    status_code = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    retryable = True


class ServerError(AdapterError):
    """Not the caller's fault: Triton, the model or the network failed."""


class InternalServerError(ServerError):
    """500: Triton or the model failed while it answered (a stream may have begun)."""


class BadGatewayError(ServerError):
    """502: the answer is not one that Triton gives: HTML, truncated, of a wrong shape, or 200 with an error."""

    status_code = 502
    type = "upstream_error"
    code = "bad_upstream_reply"


class APIConnectionError(ServerError):
    """502: the connection broke. Retried only if no byte of the answer had come."""

    status_code = 502
    type = "upstream_error"
    code = "upstream_connection_lost"

    def __init__(self, message: str, *, retryable: bool = False, **details: Any) -> None:
        super().__init__(message, **details)
        self.retryable = retryable


class ServiceUnavailableError(ServerError):
    """503: Triton is down, not ready or overloaded."""

    status_code = 503
    type = "upstream_error"
    code = "upstream_unavailable"
    retryable = True


class APITimeoutError(ServerError):
    """504: Triton did not answer, or its stream paused, for longer than allowed."""

    status_code = 504
    type = "upstream_error"
    code = "upstream_timeout"


BY_STATUS: dict[int, type[AdapterError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: APITimeoutError,
    413: RequestTooLargeError,
    429: RateLimitError,
    500: InternalServerError,
    502: BadGatewayError,
    503: ServiceUnavailableError,
    504: APITimeoutError,
}
