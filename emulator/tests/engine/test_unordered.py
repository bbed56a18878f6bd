"""The order of libstdc++'s unordered_map, which Triton's error texts show."""

from triton_emulator.engine.unordered import walk


def test_few_names_come_out_in_reverse() -> None:
    # as 2.51 lists them: Got input(s) ['INPUT2','INPUT1','INPUT0']
    assert walk(["INPUT0", "INPUT1", "INPUT2"]) == ["INPUT2", "INPUT1", "INPUT0"]


def test_every_name_comes_out_once_however_many_there_are() -> None:
    names = [f"TENSOR_{number}" for number in range(100)]
    assert sorted(walk(names)) == sorted(names)


def test_names_of_one_bucket_stand_together() -> None:
    # seen on 2.51: an unexpected-number error over the inputs A to E
    assert sorted(walk(list("ABCDE"))) == list("ABCDE")
