"""The text of a Python exception as the Python backend reports it.

The real backend is C++ over pybind11, so the text is pybind11's: the type's name, the message, then the frames. They
run from the innermost one outwards along `f_back`, not along the traceback. A frame shows its last line: in a function
with `finally` or a re-raise, that is not the line that raised.
"""

from pathlib import Path
from types import FrameType, TracebackType

#: frames of files in this folder are left out: in the real backend they are C++ and leave no frame
_OWN = str(Path(__file__).parent)
#: except this file, which is Python in the real backend too
_SHOWN = str(Path(__file__).with_name("triton_python_backend_utils.py"))
_IMPORTLIB = ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")


def describe(error: BaseException) -> str:
    """What pybind11's `error_already_set::what()` gives for an exception of the model's code."""
    name = type(error).__name__
    try:
        message = str(error).encode("utf-8", "backslashreplace").decode() or "<EMPTY MESSAGE>"
    except BaseException as second:  # noqa: BLE001 (the model's own __str__ may raise anything)
        return (
            f"{name}: <MESSAGE UNAVAILABLE DUE TO ANOTHER EXCEPTION>{_at(error)}"
            f"\nMESSAGE UNAVAILABLE DUE TO EXCEPTION: {describe(second)}"
        )
    return f"{name}: {message}{_at(error)}"


def _at(error: BaseException) -> str:
    frame = _deepest(error)
    lines = []
    while frame is not None and not _is_entry(frame):
        file, function = frame.f_code.co_filename, frame.f_code.co_name
        if not _is_own(file, function):
            lines.append(f"  {file}({frame.f_lineno}): {function}\n")
        frame = frame.f_back
    return "\n\nAt:\n" + "".join(lines) if lines else ""


def _deepest(error: BaseException) -> FrameType | None:
    """The innermost frame of the traceback, without the import system's own frames, which CPython removes."""
    entries: list[TracebackType] = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if not _is_own(code.co_filename, code.co_name):
            entries.append(trace)
        trace = trace.tb_next
    chunk = len(entries)
    while chunk and entries[chunk - 1].tb_frame.f_code.co_filename in _IMPORTLIB:
        chunk -= 1
    if chunk < len(entries):
        ends_in_exec = entries[-1].tb_frame.f_code.co_name == "_call_with_frames_removed"
        if isinstance(error, ImportError) or ends_in_exec:
            del entries[chunk:]
    return entries[-1].tb_frame if entries else None


def _is_own(file: str, function: str) -> bool:
    return file.startswith(_OWN) and (file != _SHOWN or function.startswith("_"))


def _is_entry(frame: FrameType) -> bool:
    """Whether this backend calls the model in this frame: the frames outside of it are not the model's."""
    code = frame.f_code
    return code.co_name in {"enter_model", "describe"} and code.co_filename.startswith(_OWN)
