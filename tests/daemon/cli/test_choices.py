"""select, pin, pins, rate and show in this process and without a daemon; tests/e2e has both in real ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from daemon.cli import main
from daemon.cli.backend import _renamed
from daemon.cli.choose import POLICIES, language_code, seconds, size_bytes
from daemon.cli.rate import parse_score
from daemon.cli.show import comparison_rows
from scripts.model_factory import write_preset
from selector.policy import Policy

CONTEXT = click.Context(click.Command("x"))
PARAMETER = click.Option(["--x"])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known_installation: None) -> Path:
    """Two models of one family, and one of another, in a Foundry cache that is found by itself."""
    monkeypatch.setenv("SLMREG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SLMREG_FOUNDRY_CACHES", str(tmp_path / "foundry"))
    monkeypatch.setenv("SLMREG_HF_CACHE", "")
    for name in ("fam-generic-cpu:1", "fam-generic-cpu:2", "solo-generic-cpu:1"):
        write_preset("tiny", tmp_path / "foundry" / name.replace(":", "-"), name=name)
    return tmp_path


def slmreg(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    return result


def as_json(*arguments: str, code: int = 0) -> Any:
    return json.loads(slmreg(*arguments, "--json", code=code).stdout)


# -- select


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("6GB", 6_000_000_000),
        ("6 gb", 6_000_000_000),
        ("1.5GiB", 1_610_612_736),
        ("800M", 800_000_000),
        ("64k", 64_000),
        ("12345", 12_345),
        (None, None),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str | None, size: int | None) -> None:
    assert size_bytes(CONTEXT, PARAMETER, text) == size


@pytest.mark.parametrize("text", ["", "many", "-1GB", "0", "nan", "inf", "1e9", "6GBs", "999999999999T", "9" * 400])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        size_bytes(CONTEXT, PARAMETER, text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, -1.0, 1e7])
def test_a_deadline_is_a_time_that_comes(value: float) -> None:
    with pytest.raises(click.BadParameter):
        seconds(CONTEXT, PARAMETER, value)
    assert seconds(CONTEXT, PARAMETER, 2.5) == 2.5


def test_a_language_is_a_code_of_two_letters() -> None:
    assert language_code(CONTEXT, PARAMETER, " DE ") == "de"
    assert language_code(CONTEXT, PARAMETER, None) is None
    for text in ("german", "", "d", "d1", "de-DE"):
        with pytest.raises(click.BadParameter):
            language_code(CONTEXT, PARAMETER, text)


def test_every_policy_can_be_asked_for() -> None:
    assert set(POLICIES) == set(Policy)


def test_constraints_reach_the_selector(home: Path) -> None:
    def codes(*options: str, code: int = 0) -> dict[str, str]:
        rejected = as_json("select", "chat", *options, code=code)["rejected"]
        return {each["id"].removesuffix("-generic-cpu:1"): each["code"] for each in rejected}

    assert set(codes().values()) == {"demo_model"}
    assert codes("--deny", "SOLO*")["solo"] == "denied"
    assert codes("--allow", "solo*", "--allow", "fam-generic-cpu:2")["fam"] == "not_allowed"
    assert "solo" not in codes("--allow", "solo*", "--allow", "fam-generic-cpu:2")
    for options, reason in (
        (("--vision",), "vision"),
        (("--context", "50000"), "context"),
        (("--max-memory", "1MB"), "memory"),
        (("--deadline", "0.00001"), "deadline"),
        (("--thinking",), "thinking"),
    ):
        assert codes(*options, code=1)["solo"] == reason, options
    assert "solo" not in codes("--no-thinking", "--tools", "--needs-json", "--policy", "fast")
    assert as_json("select", "chat", "--policy", "fast")["policy"] == "fast"


def test_a_setting_is_the_policy_where_nobody_says_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert as_json("select", "chat")["policy"] == "balanced"
    monkeypatch.setenv("SLMREG_POLICY", "quality")
    assert as_json("select", "chat")["policy"] == "quality"
    assert as_json("select", "chat", "--policy", "fast")["policy"] == "fast"


def test_points_of_the_settings_are_a_term_of_the_ledger(home: Path) -> None:
    home.joinpath("home").mkdir()
    home.joinpath("home", "config.toml").write_text('[model_points]\n"solo*" = 7\n', encoding="utf-8")
    selection = as_json("select", "chat")
    assert selection["chosen"] == "solo-generic-cpu:1"
    (solo,) = [each for each in selection["ranking"] if each["id"] == selection["chosen"]]
    assert solo["terms"]["preference"] == 7
    assert "PREFERENCE" in slmreg("select", "chat", "--explain").stdout


def test_what_the_owner_denies_is_never_chosen(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLMREG_DENY", "fam*, nothing*")
    assert as_json("select", "chat")["chosen"] == "solo-generic-cpu:1"
    monkeypatch.setenv("SLMREG_ALLOW", "fam*")
    assert as_json("select", "chat", "--allow", "*", code=1)["chosen"] is None


def test_explain_tells_everything_and_ends_with_the_id(home: Path) -> None:
    told = slmreg("select", "chat", "--explain")
    assert told.stdout.splitlines()[-1] == "fam-generic-cpu:2"
    assert told.stdout.splitlines()[0].split()[:2] == ["MODEL", "UTILITY"]
    assert "is best of 3" in told.stderr or "is best of 3" in told.output
    assert slmreg("select", "chat").stdout == "fam-generic-cpu:2\n"


def test_a_pin_changes_the_answer_and_what_would_change_it(home: Path) -> None:
    slmreg("pin", "chat", "solo")
    assert as_json("select", "chat")["would_change"] == [{"what": "without the pin", "chosen": "fam-generic-cpu:2"}]
    assert "  without the pin: fam-generic-cpu:2" in slmreg("select", "chat", "--explain").stdout.splitlines()


# -- pins


def test_a_pattern_is_pinned_and_told_with_what_it_means_now(home: Path) -> None:
    told = slmreg("pin", "chat", "fam*")
    assert "fam* is pinned for chat (now fam-generic-cpu:2)" in told.output
    (pin,) = as_json("pins")
    assert (pin["model"], pin["pattern"], pin["fallback"], pin["problem"]) == (
        *("fam-generic-cpu:2", "fam*", "error", None),
    )
    shutil.rmtree(home / "foundry" / "fam-generic-cpu-2")
    assert as_json("pins")[0]["model"] == "fam-generic-cpu:1"
    head, row = slmreg("pins").stdout.splitlines()
    assert head.split() == ["TASK", "PIN", "MEANS", "NOW", "IF", "IT", "CANNOT"]
    assert row.split() == ["chat", "fam*", "fam-generic-cpu:1", "an", "error"]


def test_a_pin_to_what_is_missing_is_kept_and_reported(home: Path) -> None:
    as_json("scan")
    (home / "foundry" / "solo-generic-cpu-1").rename(home / "away")
    told = slmreg("pin", "chat", "solo")
    assert "solo-generic-cpu:1 is pinned for chat" in told.output
    assert "cannot serve" in told.output
    assert "solo-generic-cpu:1" in as_json("select", "chat", code=1)["reason"]
    assert "cannot serve" in slmreg("pins").output
    (home / "away").rename(home / "foundry" / "solo-generic-cpu-1")
    assert as_json("select", "chat")["chosen"] == "solo-generic-cpu:1"
    assert as_json("pins")[0]["problem"] is None


def test_a_pattern_that_nothing_fits_yet_is_kept_and_reported(home: Path) -> None:
    told = slmreg("pin", "chat", "phi-9*")
    assert "phi-9* is pinned for chat." in told.output
    assert "It cannot serve now" in told.output
    assert "nothing here yet" in slmreg("pins").stdout


def test_with_a_fallback_slmreg_chooses_and_says_so(home: Path) -> None:
    as_json("scan")
    (home / "foundry" / "solo-generic-cpu-1").rename(home / "away")
    slmreg("pin", "chat", "solo", "--fallback", "auto")
    selection = as_json("select", "chat")
    assert (selection["chosen"], selection["pinned"], selection["fallback"]) == ("fam-generic-cpu:2", False, True)
    assert "solo-generic-cpu:1 is pinned for chat" in selection["reason"]
    assert "slmreg chooses" in slmreg("pins").stdout
    assert slmreg("pin", "chat", "solo", "--fallback", "maybe", code=2).output


# -- rate


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("4", {"rating": 4}),
        ("18/24", {"passed": 18, "items": 24}),
        ("0/1", {"passed": 0, "items": 1}),
        ("7/7", {"passed": 7, "items": 7}),
    ],
)
def test_a_score_is_a_rating_or_a_test(text: str, said: dict[str, int]) -> None:
    assert parse_score(text) == said


@pytest.mark.parametrize("text", ["0", "6", "4.5", "", "-1", "25/24", "0/0", "1/", "/2", "good", "1/2/3", "nan"])
def test_what_is_no_score_is_wrong_usage(text: str) -> None:
    with pytest.raises(click.UsageError, match="no score"):
        parse_score(text)


def test_ratings_are_kept_listed_counted_and_forgotten(home: Path) -> None:
    before = as_json("select", "code")["ranking"]
    assert all("evaluated" not in each["terms"] or each["terms"]["evaluated"] == 0 for each in before)
    told = slmreg("rate", "solo", "code", "5", "--notes", "tests passed", "--no-thinking")
    assert "solo-generic-cpu:1 has 5 of 5 for code" in told.output
    assert as_json("rate", "solo", "math", "18/24")["passed"] == 18
    (first, second) = as_json("rate", "solo")
    assert (first["rating"], first["thinking"], first["notes"]) == (5, False, "tests passed")
    assert (second["passed"], second["items"], second["thinking"]) == (18, 24, None)
    listed = slmreg("rate", "solo").stdout
    assert "5 of 5" in listed
    assert "18 of 24 items" in listed
    assert "18 of 24 items" in slmreg("show", "solo").stdout

    selection = as_json("select", "code")
    assert selection["chosen"] == "solo-generic-cpu:1"
    assert "EVALUATED" in slmreg("select", "code", "--explain").stdout
    assert "1 forgotten" in slmreg("rate", "solo", "code", "--forget").output
    assert as_json("rate", "solo", "--forget") == {"model": "solo-generic-cpu:1", "task": None, "forgotten": 1}
    assert as_json("rate", "solo") == []
    assert "Nobody said anything" in slmreg("rate", "solo").output


def test_a_rating_that_cannot_be_kept_says_why(home: Path) -> None:
    assert "SCORE" in slmreg("rate", "solo", "code", code=2).output
    assert "no SCORE" in slmreg("rate", "solo", "code", "4", "--forget", code=2).output
    assert "solo" in slmreg("rate", "sol", "code", "4", code=1).output
    assert "cannot do vision" in slmreg("rate", "solo", "vision", "4", code=1).output
    assert "transcription" in slmreg("rate", "solo", "cooking", "4", code=1).output


# -- show


def test_predicted_and_measured_stand_side_by_side_with_how_far_off() -> None:
    predicted = {
        "context_tokens": 2048,
        "prompt_tokens": 100,
        "peak_bytes": 1_000_000_000,
        "load_s": 2.0,
        "ttft_s": 0.5,
        "prompt_tokens_per_second": 200.0,
        "tokens_per_second": 20.0,
    }
    measured = {
        "resident_bytes": 900_000_000,
        "peak_bytes": 1_100_000_000,
        "load_s": 1.5,
        "ttft_s": 0.5,
        "prompt_tokens_per_second": None,
        "tokens_per_second": 25.0,
    }
    assert list(comparison_rows(predicted, measured)) == [
        ("memory after loading", "-", "900.0 MB", ""),
        ("most memory, 2048 tokens if full", "1.0 GB", "1.1 GB", "+10%"),
        ("load time", "2.00 s", "1.50 s", "-25%"),
        ("first token of an answer to 100", "500.0 ms", "500.0 ms", "+0%"),
        ("prompt tokens/s", "200.0", "-", ""),
        ("tokens/s", "20.0", "25.0", "+25%"),
    ]


def test_show_says_that_nothing_was_measured_yet(home: Path) -> None:
    shown = slmreg("show", "solo").stdout
    assert "nothing was measured here yet; predicted from" in shown
    assert "tokens/s" in shown
    assert as_json("show", "solo")["measured"] == {}


# -- what goes over the wire


def test_fields_go_under_the_names_of_the_http_api_and_only_those_that_were_said() -> None:
    said = {"needs_tools": True, "needs_json": False, "language": None, "items": 24, "thinking": False}
    assert _renamed(said) == {"tools": True, "json": False, "of": 24, "thinking": False}


def test_an_import_that_cannot_be_understood_names_the_given_file(home: Path) -> None:
    team = home / "team.json"
    for content, place in (
        ("{}", str(team)),
        ('[{"name": ""}]', f"Entry 1 of {team}"),
        ('[{"name": "models.json", "min_ram_gb": "x"}]', f"entry 1 (models.json) of {team}"),
        ("[", f"{team} is not valid JSON"),
    ):
        team.write_text(content, encoding="utf-8")
        assert place in slmreg("import", str(team), code=1).output
    piped = CliRunner().invoke(main, ["import", "-"], input="[")
    assert "standard input is not valid JSON" in piped.output


def test_the_doctor_counts_one_problem_as_one(home: Path) -> None:
    as_json("scan")
    slmreg("pin", "chat", "solo", "--fallback", "auto")
    (home / "foundry" / "solo-generic-cpu-1").rename(home / "away")
    told = slmreg("doctor", code=1)
    assert "1 problem." in told.output
    assert "pin chat: solo-generic-cpu:1 cannot serve" in told.output
