from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from daemon.worker.text import Detokenizer, StopMatcher

SILENT = 999


class Bytes:
    """A tokenizer whose tokens are single bytes; SILENT is a special token."""

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(token for token in ids if token != SILENT).decode("utf-8", "replace")

    def is_silent(self, token: int) -> bool:
        return token == SILENT


class Words:
    """A tokenizer whose text depends on its neighbour: no space in front of the first word."""

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(f"w{token}" for token in ids)

    def is_silent(self, token: int) -> bool:
        return False


def detokenized(tokens: Sequence[int]) -> list[str]:
    subject = Detokenizer(Bytes())
    return [*(subject.push(token) for token in tokens), subject.flush()]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_out_whole_and_in_whole_characters(text: str) -> None:
    pieces = detokenized(list(text.encode()))
    assert "".join(pieces) == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


def test_special_tokens_never_show_not_even_inside_a_character() -> None:
    first, *rest = "é".encode()
    assert "".join(detokenized([SILENT, ord("a"), first, SILENT, *rest, SILENT])) == "aé"


def test_text_after_broken_bytes_is_not_lost() -> None:
    broken = "🎉".encode()[:2]
    assert "".join(detokenized([*broken, *b"hello"])) == "\ufffdhello"


def test_bytes_that_never_become_a_character_do_not_pile_up() -> None:
    pieces = detokenized([0x80] * 40)
    assert max(map(len, pieces)) <= 8
    assert "".join(pieces) == "\ufffd" * 40


def test_an_unfinished_character_at_the_end_is_shown_as_broken() -> None:
    assert detokenized([ord("a"), 0xC3]) == ["a", "", "\ufffd"]


def test_tokens_that_end_inside_characters_lose_nothing() -> None:
    class Pairs(Bytes):
        """Tokens of two bytes, which cut every other three-byte character."""

        def decode(self, ids: Sequence[int]) -> str:
            return b"".join(token.to_bytes(2, "big") for token in ids).decode("utf-8", "replace")

    text = "中文字符" * 3
    data = text.encode()
    subject = Detokenizer(Pairs())
    pieces = [subject.push(int.from_bytes(data[i : i + 2], "big")) for i in range(0, len(data), 2)]
    assert "".join(pieces) == text


def test_words_keep_their_spaces() -> None:
    subject = Detokenizer(Words())
    assert [subject.push(token) for token in (1, 2, 3)] == ["w1", " w2", " w3"]


def matched(pieces: Sequence[str], stops: Sequence[str]) -> tuple[str, bool]:
    subject = StopMatcher(stops)
    text = "".join(subject.push(piece) for piece in pieces) + subject.flush()
    return text, subject.is_stopped


small_text = st.text(alphabet="abc", max_size=24)
small_stops = st.lists(st.text(alphabet="abc", max_size=4), max_size=3)


@given(pieces=st.lists(small_text, max_size=12), stops=small_stops)
def test_the_split_of_a_text_does_not_matter(pieces: list[str], stops: list[str]) -> None:
    assert matched(pieces, stops) == matched(["".join(pieces)], stops) == matched("".join(pieces), stops)


@given(pieces=st.lists(small_text, max_size=12), stops=small_stops)
def test_nothing_is_lost_before_a_stop_string_and_nothing_of_it_shown(pieces: list[str], stops: list[str]) -> None:
    text, is_stopped = matched(pieces, stops)
    whole = "".join(pieces)
    real_stops = [stop for stop in stops if stop]
    assert not any(stop in text for stop in real_stops)
    assert is_stopped == any(stop in whole for stop in real_stops)
    if is_stopped:
        assert any(whole.startswith(text + stop) for stop in real_stops)
    else:
        assert text == whole


def test_text_that_cannot_begin_a_stop_string_is_not_held_back() -> None:
    subject = StopMatcher(["END"])
    assert [subject.push(piece) for piece in ("abc", "E", "N", "x", "EE")] == ["abc", "", "", "ENx", "E"]


def test_of_stop_strings_that_end_together_the_longest_counts() -> None:
    assert matched(["xabcd"], ["cd", "bcd"]) == ("xa", True)
