from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from daemon.config.effect import LISTED, Effect, effect_of
from daemon.config.layers import Effective, Origin, OriginKind
from daemon.config.present import Derived, PresentSettings, Reloaded
from daemon.settings import Settings
from registry.errors import SettingsError

FILE = Origin(OriginKind.FILE, "config.toml:1")


class Source:
    """What is read; ``holder`` has read it once."""

    def __init__(self, **settings: Any) -> None:
        self.says(**settings)
        self.holder = PresentSettings(self.read(), self.read)

    def says(self, **settings: Any) -> None:
        self.error: str | None = None
        self.effective = Effective(Settings(**settings), dict.fromkeys(settings, FILE))

    def read(self) -> Effective:
        if self.error is not None:
            raise SettingsError(self.error)
        return self.effective


def test_every_setting_has_a_place_in_the_table_and_nothing_else_has() -> None:
    assert set(LISTED) == set(Settings.model_fields)
    assert effect_of("not_thought_of") is Effect.RESTART


def test_the_readme_names_what_takes_a_restart() -> None:
    readme = " ".join((Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8").split())
    named = readme.partition("A restart is needed for: ")[2].partition(";")[0]
    restart = [name for name, effect in LISTED.items() if effect is Effect.RESTART]
    assert named == ", ".join(f"`{name}`" for name in restart)


def test_what_counts_now_and_what_counts_for_loads_is_handed_out_at_once() -> None:
    source = Source()
    source.says(max_queue=1, threads=2)
    assert source.holder.reload() == Reloaded(("max_queue",), ("threads",))
    assert (source.holder().max_queue, source.holder().threads) == (1, 2)
    assert source.holder.effective.origins == {"max_queue": FILE, "threads": FILE}


def test_what_takes_a_restart_stays_and_is_named_until_it_is_taken_back() -> None:
    source = Source(port=1)
    source.says(port=2, max_queue=1)
    assert source.holder.reload() == Reloaded(("max_queue",), (), ("port",))
    assert (source.holder().port, source.holder.waiting) == (1, {"port": 2})
    assert source.holder.effective.origins == {"port": FILE, "max_queue": FILE}
    assert source.holder.reload() == Reloaded((), (), ("port",))
    source.says(port=1)
    assert source.holder.reload() == Reloaded(("max_queue",))
    assert source.holder.waiting == {}


def test_wrong_settings_change_nothing_and_are_remembered_until_they_are_right(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Source(max_queue=1)
    source.error = "config.toml:1: port = 'x' is not usable"
    with pytest.raises(SettingsError, match=r"config\.toml:1"):
        source.holder.reload()
    assert (source.holder().max_queue, source.holder.problem) == (1, source.error)
    assert "config.toml:1: port" in caplog.text
    source.says(max_queue=1)
    assert source.holder.reload() == Reloaded()
    assert source.holder.problem is None


def test_followers_hear_of_changes_alone() -> None:
    source = Source()
    heard: list[Settings] = []
    source.holder.follow(heard.append)
    source.says(port=9)
    source.holder.reload()
    assert heard == []
    source.says(threads=2)
    source.holder.reload()
    assert [settings.threads for settings in heard] == [2]


def test_the_log_names_what_changed_once_and_never_a_value(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    source = Source()
    source.says(port=4711, allowed_hosts=("secret.example",))
    source.holder.reload()
    assert "allowed_hosts" in caplog.text
    assert "names=port" in caplog.text
    assert "4711" not in caplog.text
    assert "secret" not in caplog.text
    caplog.clear()
    source.holder.reload()
    assert caplog.text == ""


def test_what_is_made_of_settings_is_made_once_for_each_of_them() -> None:
    source = Source(max_queue=1)
    made: list[int] = []

    def make(settings: Settings) -> int:
        made.append(settings.max_queue)
        return settings.max_queue

    derived = Derived(source.holder, make)
    assert [derived(), derived()] == [1, 1]
    source.says(max_queue=2)
    source.holder.reload()
    assert [derived(), derived()] == [2, 2]
    assert made == [1, 2]
