"""The order of libstdc++'s unordered_map, which Triton's error texts show."""

from hashlib import sha256

from triton_emulator.cxx.unordered_map import walk


def test_few_names_come_out_in_reverse() -> None:
    # as 2.51 lists them: Got input(s) ['INPUT2','INPUT1','INPUT0']
    assert walk(["INPUT0", "INPUT1", "INPUT2"]) == ["INPUT2", "INPUT1", "INPUT0"]


def test_every_name_comes_out_once_however_many_there_are() -> None:
    names = [f"TENSOR_{number}" for number in range(100)]
    assert sorted(walk(names)) == sorted(names)


def test_names_of_one_bucket_stand_together() -> None:
    # seen on 2.51: an unexpected-number error over the inputs A to E
    assert sorted(walk(list("ABCDE"))) == list("ABCDE")


def test_fifty_thousand_names_come_out_as_2_51_lists_them() -> None:
    """A search through all names for each name would take minutes and block the event loop."""
    names = walk(f"I{number}" for number in range(50_000))
    assert names[:6] == ["I49999", "I49998", "I49997", "I49995", "I49993", "I49992"]
    digest = "294667e17c45ede43c88eaea74403ba892d199d5c35792727eb87228dbd0e667"
    assert sha256(",".join(names).encode()).hexdigest() == digest
