"""Counts tokens where the backend does not: with a local tokenizer.json, or else as an estimate."""

from functools import lru_cache
from typing import Any

from triton_adapter.errors import BadRequestError

BYTES_PER_TOKEN = 4


def estimate(text: str) -> int:
    """Return a rough count: one token for every four bytes of UTF-8, at least one for any text."""
    return estimate_size(len(text.encode("utf-8", "replace")))


def estimate_size(size: int) -> int:
    """Return the rough count of a text of so many bytes of UTF-8."""
    return -(-size // BYTES_PER_TOKEN)


@lru_cache(maxsize=32)
def load_tokenizer(path: str) -> Any:
    """Return the tokenizer of a tokenizer.json file. BadRequestError if it cannot be read."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise BadRequestError(
            "the configured tokenizer needs the package 'tokenizers'", param="tokenizer"
        ) from error
    try:
        return Tokenizer.from_file(path)
    except Exception as error:  # the package raises bare Exception
        raise BadRequestError("the configured tokenizer cannot be read", param="tokenizer") from error


def count(text: str, tokenizer: str | None) -> tuple[int, bool]:
    """Return the number of tokens and whether it is only an estimate."""
    if not tokenizer:
        return estimate(text), True
    return len(load_tokenizer(tokenizer).encode(text, add_special_tokens=False).ids), False


def split(text: str, tokenizer: str | None) -> list[str]:
    """Return the text of each token of a text; a blank before a word belongs to the word.

    The list is empty without a tokenizer.
    """
    if not tokenizer:
        return []
    ends = [end for _, end in load_tokenizer(tokenizer).encode(text, add_special_tokens=False).offsets]
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def detokenize(tokens: list[int], tokenizer: str | None, *, param: str) -> str:
    """Return the text of a list of tokens. BadRequestError names `param` if no tokenizer is configured."""
    if not tokenizer:
        raise BadRequestError(
            f"'{param}' holds token ids, but the model takes text and no tokenizer is configured",
            param=param,
            code="invalid_type",
        )
    return str(load_tokenizer(tokenizer).decode(tokens, skip_special_tokens=False))
