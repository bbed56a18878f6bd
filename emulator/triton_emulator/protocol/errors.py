"""Triton's error: a code and a message, and what each transport makes of the code."""

from enum import Enum


class Code(Enum):
    """TRITONSERVER_Error_Code; the value is the name that Triton prints before a message."""

    UNKNOWN = "Unknown"
    INTERNAL = "Internal"
    NOT_FOUND = "Not found"
    INVALID_ARG = "Invalid argument"
    UNAVAILABLE = "Unavailable"
    UNSUPPORTED = "Unsupported"
    ALREADY_EXISTS = "Already exists"
    CANCELLED = "Cancelled"


#: HTTP status by code (2.51.0 http_server.cc HttpCodeFromError). Before 2.42 every error is a 400.
HTTP_STATUS: dict[Code, int] = {
    Code.INTERNAL: 500,
    Code.NOT_FOUND: 404,
    Code.UNAVAILABLE: 503,
    Code.UNSUPPORTED: 501,
    Code.UNKNOWN: 400,
    Code.INVALID_ARG: 400,
    Code.ALREADY_EXISTS: 400,
    Code.CANCELLED: 400,
}

#: gRPC status code number by code.
GRPC_STATUS: dict[Code, int] = {
    Code.UNKNOWN: 2,
    Code.INTERNAL: 13,
    Code.NOT_FOUND: 5,
    Code.INVALID_ARG: 3,
    Code.UNAVAILABLE: 14,
    Code.UNSUPPORTED: 12,
    Code.ALREADY_EXISTS: 6,
    Code.CANCELLED: 1,
}


class TritonError(Exception):
    """An error as Triton reports it: `code` decides the status, `message` is the body's text."""

    def __init__(self, code: Code, message: str) -> None:
        self.code = code
        self.message = message.partition("\0")[0]  # 2.51: an error's text is a C string
        super().__init__(self.message)

    def __repr__(self) -> str:
        return f"TritonError({self.code.name}, {self.message!r})"

    def copy(self) -> "TritonError":
        """An equal error to be raised, if a value that the raising function can reach refers to this one.

        An error that is raised refers to the function's variables. Where they refer to the error as well, all of them
        stay in memory until the next garbage collection.
        """
        return TritonError(self.code, self.message)


class BackendRefusal(TritonError):
    """What a backend says of a request that it does not execute. The request counts as failed."""


def internal(message: str) -> TritonError:
    return TritonError(Code.INTERNAL, message)


def invalid_arg(message: str) -> TritonError:
    return TritonError(Code.INVALID_ARG, message)


def not_found(message: str) -> TritonError:
    return TritonError(Code.NOT_FOUND, message)


def unavailable(message: str) -> TritonError:
    return TritonError(Code.UNAVAILABLE, message)


def unsupported(message: str) -> TritonError:
    return TritonError(Code.UNSUPPORTED, message)
