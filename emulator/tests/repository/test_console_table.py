"""The tables of tritonserver's start-up, character by character."""

from triton_emulator.repository.console_table import render_table


def test_a_table_without_rows_has_three_rules() -> None:
    assert render_table(("Repository Agent", "Path"), []) == (
        "\n+------------------+------+\n"
        "| Repository Agent | Path |\n"
        "+------------------+------+\n"
        "+------------------+------+\n"
    )


def test_a_cell_of_several_lines_makes_a_row_of_several_lines() -> None:
    assert render_table(
        ("Model", "Version", "Status"), [("m", "1", "UNAVAILABLE: a\n\nb\n"), ("n", "-", "READY")]
    ) == (
        "\n+-------+---------+----------------+\n"
        "| Model | Version | Status         |\n"
        "+-------+---------+----------------+\n"
        "| m     | 1       | UNAVAILABLE: a |\n"
        "|       |         |                |\n"
        "|       |         | b              |\n"
        "| n     | -       | READY          |\n"
        "+-------+---------+----------------+\n"
    )
