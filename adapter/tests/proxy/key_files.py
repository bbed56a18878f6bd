"""Keys, and the file that keeps them as other programs write it."""

import sqlite3
from pathlib import Path
from typing import Any

from triton_adapter.proxy.keys.key import Key, token_id


def new_key(name: str = "x", **columns: Any) -> Key:
    return Key(token_id(f"sk-{name}"), f"sk-...{name}", **columns)


def write(path: Path, sql: str, *values: Any) -> list[Any]:
    """Run one statement as another program does."""
    database = sqlite3.connect(path)
    with database:
        found = database.execute(sql, values).fetchall()
    database.close()
    return found
