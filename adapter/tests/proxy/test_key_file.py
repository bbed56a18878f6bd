"""The file of keys as other programs leave it: with wrong values, other keys, other periods, or not at all."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapter.tests.proxy.key_files import new_key, write
from adapter.tests.proxy.serving import MASTER, entry, error_of, get, post, serve
from triton_adapter.proxy import StoreError
from triton_adapter.proxy.keys.file import KEPT, KeyFile, TakenError
from triton_adapter.proxy.keys.key import token_id
from triton_adapter.proxy.keys.operations import run
from triton_adapter.proxy.keys.store import KeyStore

# --- values that no key can have

WRONG: list[tuple[str, Any]] = [
    ("key_name", None),
    ("key_alias", b"x"),
    ("models", '"gpt"'),
    ("models", "[1]"),
    ("aliases", "[]"),
    ("aliases", '{"a":1}'),
    ("created_at", "2027-01-01"),
    ("created_at", float("inf")),
    ("expires", "2027-01-01"),
    ("expires", 1e300),
    ("rpm_limit", "60"),
    ("tpm_limit", 1.5),
    ("max_parallel_requests", b"1"),
    ("request_budget", "100"),
    ("token_budget", float("inf")),
    ("budget_duration", "ever"),
    ("budget_duration", "999999999mo"),
    ("budget_reset_at", "2027-01-01"),
    ("budget_reset_at", float("-inf")),
    ("requests_used", None),
    ("tokens_used", float("inf")),
    ("user_id", 7),
    ("metadata", '{"a":NaN}'),
    ("metadata", '{"a":"\\ud800"}'),
]


@pytest.mark.parametrize(("column", "value"), WRONG)
def test_a_row_with_a_value_that_no_key_can_have_is_skipped_and_no_other(
    store: KeyStore, path: Path, caplog: pytest.LogCaptureFixture, column: str, value: Any
) -> None:
    wrong = new_key("wrong", request_budget=9, budget_duration="1h", budget_reset_at=9e9, rpm_limit=3)
    other = new_key("other")
    run(store.creating(wrong))
    run(store.creating(other))
    [(right,)] = write(path, f"SELECT {column} FROM keys WHERE token_id=?", wrong.token_id)  # noqa: S608
    write(path, f"UPDATE keys SET {column}=? WHERE token_id=?", value, wrong.token_id)  # noqa: S608
    for _ in range(2):
        store.use(other, 1, 5)
        run(store.syncing())
        write(path, "UPDATE keys SET blocked=1")
    run(store.syncing())
    assert (other.blocked, wrong.blocked) == (True, True)
    assert write(path, "SELECT requests_used FROM keys WHERE token_id=?", other.token_id) == [(2,)]
    told = f"its {column} has a value that no key can have; mend or delete the row {wrong.token_id}"
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [f"a row of the key store is skipped: {told}"]
    started = KeyStore(str(path))
    assert list(started.keys) == [other.token_id]
    write(path, f"UPDATE keys SET {column}=? WHERE token_id=?", right, wrong.token_id)  # noqa: S608
    for one in (store, started):
        run(one.syncing())
        assert one.keys[wrong.token_id].rpm_limit == 3
        assert one.keys[wrong.token_id].blocked
    started.close()


def test_a_text_that_is_not_utf_8_is_a_wrong_value_like_any_other(store: KeyStore, path: Path) -> None:
    wrong, other = new_key("wrong"), new_key("other")
    run(store.creating(wrong))
    run(store.creating(other))
    write(path, "UPDATE keys SET team_id=CAST(x'ff' AS TEXT) WHERE token_id=?", wrong.token_id)
    write(path, "UPDATE keys SET rpm_limit=4 WHERE token_id=?", other.token_id)
    run(store.syncing())
    assert other.rpm_limit == 4


def test_a_row_that_is_no_key_can_be_deleted(store: KeyStore, path: Path) -> None:
    run(store.creating(new_key()))
    write(path, "UPDATE keys SET expires='soon'")
    started = KeyStore(str(path))
    assert run(started.deleting([token_id("sk-x")])) == [token_id("sk-x")]
    assert write(path, "SELECT * FROM keys") == []
    run(started.creating(new_key()))
    run(started.updating(token_id("sk-x"), {"rpm_limit": 2}))
    started.close()


def test_a_row_that_is_no_key_cannot_be_changed_by_a_process_that_never_saw_it_right(
    store: KeyStore, path: Path
) -> None:
    run(store.creating(new_key()))
    write(path, "UPDATE keys SET expires='soon'")
    started = KeyStore(str(path))
    with pytest.raises(StoreError, match="its expires has a value there that no key can have"):
        run(started.updating(token_id("sk-x"), {"rpm_limit": 9}))
    started.close()


def test_a_key_keeps_its_place_when_another_program_changes_its_creation(store: KeyStore, path: Path) -> None:
    for at, name in enumerate("abc"):
        run(store.creating(new_key(name, created_at=float(at))))
    write(path, "UPDATE keys SET created_at=9 WHERE token_id=?", token_id("sk-a"))
    run(store.deleting([token_id("sk-a")]))
    assert [key.token_id for key in store.in_order()] == [token_id("sk-b"), token_id("sk-c")]


def test_what_could_not_be_taken_in_is_read_again(store: KeyStore, path: Path) -> None:
    run(store.creating(new_key("first")))
    there = KeyStore(str(path))
    run(there.creating(new_key()))
    operation = store.syncing()
    next(operation)()  # the file is read
    operation.close()  # the operation ends before its keys are taken in
    run(store.syncing())
    assert set(store.keys) == {token_id("sk-first"), token_id("sk-x")}
    there.close()


# --- two processes at the same time


def up_to_the_write(operation: Any) -> Any:
    """Run an operation until it wants to write a new key; return that call."""
    work = next(operation)
    while getattr(getattr(work, "func", None), "__name__", "") not in ("insert", "update"):
        work = operation.send(work())
    return work


@pytest.mark.parametrize("what", ["key", "key_alias"])
def test_of_two_processes_that_give_away_one_secret_or_alias_the_second_is_refused(
    store: KeyStore, path: Path, what: str
) -> None:
    there = KeyStore(str(path))
    run(store.creating(new_key("first")))
    name = {"key": "same", "key_alias": "other"}[what]
    insert = up_to_the_write(
        store.creating(new_key("same", key_alias="team" if what == "key_alias" else "a"))
    )
    run(there.creating(new_key(name, key_alias="team")))
    with pytest.raises(TakenError, match=f"^{what}$"):
        insert()
    run(store.syncing())
    assert store.keys.keys() == {token_id("sk-first"), token_id(f"sk-{name}")}
    there.close()


@pytest.mark.parametrize(
    ("changes", "secret", "what"), [({"key_alias": "team"}, None, "key_alias"), ({}, "sk-b", "key")]
)
def test_a_key_cannot_get_what_another_process_has_just_given_away(
    store: KeyStore, path: Path, changes: dict[str, Any], secret: str | None, what: str
) -> None:
    there = KeyStore(str(path))
    run(store.creating(new_key("a")))
    update = up_to_the_write(store.updating(token_id("sk-a"), changes, secret))
    run(there.creating(new_key("b", key_alias="team")))
    with pytest.raises(TakenError, match=f"^{what}$"):
        update()
    run(store.syncing())
    assert (len(store.keys), store.by_alias(["team"])) == (2, [store.keys[token_id("sk-b")]])
    there.close()


def test_a_file_that_has_an_alias_twice_still_opens(store: KeyStore, path: Path) -> None:
    for name in "ab":
        run(store.creating(new_key(name)))
    write(path, "UPDATE keys SET key_alias='team'")
    started = KeyStore(str(path))
    assert [key.key_alias for key in started.in_order()] == ["team", "team"]
    with pytest.raises(TakenError):
        run(started.creating(new_key("c", key_alias="team")))
    run(started.updating(token_id("sk-a"), {"rpm_limit": 3}))
    run(started.updating(token_id("sk-a"), {"key_alias": "other"}))
    assert started.by_alias(["team"]) == [started.keys[token_id("sk-b")]]
    started.close()


# --- a file that is no longer there


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    other = KeyStore(str(path.with_name("other.db")))
    run(other.creating(new_key("other")))
    other.close()
    path.with_name("other.db").replace(path)


@pytest.mark.parametrize("vanish", [remove, replace])
def test_a_file_that_vanishes_is_told_until_it_is_put_back_and_costs_no_use(
    store: KeyStore, path: Path, vanish: Callable[[Path], None]
) -> None:
    key = new_key()
    run(store.creating(key))
    run(store.syncing())
    kept = path.with_name("kept.db")
    kept.hardlink_to(path)
    vanish(path)
    store.use(key, 1, 2)
    for operation in (
        store.syncing(),
        store.creating(new_key("new")),
        store.updating(key.token_id, {"rpm_limit": 1}),
        store.deleting([key.token_id]),
    ):
        with pytest.raises(
            StoreError, match="was removed, replaced or moved while the proxy ran; put it back"
        ):
            run(operation)
        assert not store.connected
    assert store.keys == {key.token_id: key}
    kept.replace(path)
    run(store.syncing())
    assert store.connected
    assert write(path, "SELECT requests_used, tokens_used, rpm_limit FROM keys") == [(1, 2, None)]


def test_a_proxy_whose_file_is_removed_makes_no_key_and_says_that_it_is_not_connected(path: Path) -> None:
    general = {"master_key": MASTER, "database_url": f"sqlite:///{path}"}
    with serve(entry("m", "http://127.0.0.1:9"), general_settings=general) as proxy:
        assert post(proxy, "/key/generate", {}).status_code == 200
        assert get(proxy, "/health/readiness").json()["db"] == "connected"
        remove(path)
        reply = post(proxy, "/key/generate", {})
        assert error_of(reply)[0] == 500
        assert "restart the proxy" in reply.json()["error"]["message"]
        assert str(path) not in reply.text
        assert get(proxy, "/health/readiness").json()["db"] == "Not connected"
    assert not path.exists()


def test_a_store_says_that_its_file_cannot_be_used_and_that_it_can_be_used_again(store: KeyStore) -> None:
    run(store.creating(new_key()))
    database = store._file._database
    assert database is not None
    database.execute("PRAGMA query_only=1")
    with pytest.raises(StoreError):
        run(store.creating(new_key("new")))
    assert not store.connected
    assert "[OPEN" in repr(store)
    database.execute("PRAGMA query_only=0")
    run(store.syncing())
    assert store.connected


# --- keys that were deleted


def test_deleted_keys_are_forgotten_and_who_is_far_behind_still_learns_of_them(
    store: KeyStore, path: Path
) -> None:
    stays, goes = new_key("stays"), new_key("goes")
    run(store.creating(stays))
    run(store.creating(goes))
    behind = KeyStore(str(path))
    near, far = KeyFile(str(path)), KeyFile(str(path))
    run(store.deleting([goes.token_id]))
    database = sqlite3.connect(path)
    with database:
        for at in range(KEPT):
            database.execute("INSERT INTO changes (token_id) VALUES (?)", (f"deleted {at}",))
    for file in (near, far):
        read = file.load()
        assert read is not None
        file.merged(read)
    with database:
        for at in range(KEPT):
            database.execute("INSERT OR REPLACE INTO changes (token_id) VALUES (?)", (f"deleted {at % 5}",))
    read = near.load()
    assert read is not None
    near.merged(read)
    run(store.creating(new_key("late")))
    run(store.deleting([token_id("sk-late")]))
    assert database.execute("SELECT count(*) FROM changes").fetchone()[0] < 10
    database.close()
    for file, whole in ((near, False), (far, True)):
        read = file.load()
        assert read is not None
        assert read.whole is whole
        file.close()
    run(behind.syncing())
    assert list(behind.keys) == [stays.token_id]
    behind.close()
