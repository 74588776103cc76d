from __future__ import annotations

import pytest

from daemon.config.lines import end_of_top, line_of, lines_of

TEXT = """\
# a comment
port = 1

allow = [
    "phi*",  # [not a table]
    "qwen*",
]
note = '''
[models]
port = 2
'''
keep_alive_models = {"phi*" = "1h"}
models.solo.threads = 3

[models."qwen2.5*"]
# threads = 1
threads = 4
"""


def test_every_key_and_table_is_on_the_line_where_it_begins() -> None:
    assert lines_of(TEXT) == {
        ("port",): 2,
        ("allow",): 4,
        ("note",): 8,
        ("keep_alive_models",): 12,
        ("keep_alive_models", "phi*"): 12,
        ("models",): 13,
        ("models", "solo"): 13,
        ("models", "solo", "threads"): 13,
        ("models", "qwen2.5*"): 15,
        ("models", "qwen2.5*", "threads"): 17,
    }


def test_an_item_of_a_list_is_where_the_list_is_and_nothing_is_nowhere() -> None:
    lines = lines_of(TEXT)
    assert line_of(lines, ("allow", "1")) == 4
    assert line_of(lines, ("deny", "0")) is None


def test_tables_of_tables_and_lists_of_tables_are_found_too() -> None:
    assert lines_of("[a.b]\nc = 1\n[[d]]\ne = 1\n[[d]]\ne = 2\n") == {
        ("a",): 1,
        ("a", "b"): 1,
        ("a", "b", "c"): 2,
        ("d",): 3,
        ("d", "e"): 4,
    }


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("", 0),
        ("\n\n", 0),
        ("a = 1\n", 1),
        ("a = [\n  1,\n]\n\n# about b\n# more\n[b]\nc = 1\n", 3),
        ("# the file\n\n# about b\n[b]\n", 1),
        ("[b]\n", 0),
        ("a = 1\n# the end", 2),
    ],
)
def test_one_more_key_comes_after_the_others_and_above_the_first_table_and_its_comment(text: str, end: int) -> None:
    assert end_of_top(text) == end
