from __future__ import annotations

from pathlib import Path

import pytest

from daemon.config.layers import load_settings
from daemon.paths import Paths
from daemon.settings import Settings
from registry.errors import SettingsError


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths.from_environment({"SLMREG_HOME": str(tmp_path)})


def write(paths: Paths, text: str) -> None:
    paths.config.write_text(text, encoding="utf-8")


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(paths: Paths) -> None:
    assert load_settings(paths, {}).port == 7567
    write(paths, "port = 1001\nthreads = 3\n")
    assert load_settings(paths, {}).port == 1001
    assert load_settings(paths, {"SLMREG_PORT": "1002"}).port == 1002
    settings = load_settings(paths, {"SLMREG_PORT": "1002"}, {"port": 1003, "host": None})
    assert (settings.port, settings.threads, settings.host) == (1003, 3, "127.0.0.1")


def test_home_holds_everything(tmp_path: Path, paths: Paths) -> None:
    for path in (paths.config, paths.database, paths.run_file, paths.hardware_cache, paths.log):
        assert path.is_relative_to(tmp_path)


def test_without_a_home_the_platform_decides() -> None:
    assert "slmreg" in str(Paths.from_environment({}).database)


def test_an_unknown_key_is_an_error_with_a_suggestion(paths: Paths) -> None:
    write(paths, "max_contxt_tokens = 5000\n")
    with pytest.raises(
        SettingsError, match=r"config\.toml:1: there is no setting max_contxt_tokens\. Did you mean max_context_tokens"
    ):
        load_settings(paths, {})


def test_a_wrong_type_names_the_variable_and_the_value(paths: Paths) -> None:
    with pytest.raises(SettingsError, match="environment: SLMREG_PORT = 'many' is not usable"):
        load_settings(paths, {"SLMREG_PORT": "many"})


def test_broken_toml_names_the_file(paths: Paths) -> None:
    write(paths, "port = \n")
    with pytest.raises(SettingsError, match=r"config\.toml:1 is not valid TOML"):
        load_settings(paths, {})


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.2", "LocalHost"])
def test_loopback_addresses_are_for_this_machine_alone(paths: Paths, host: str) -> None:
    settings = load_settings(paths, {"SLMREG_HOST": host})
    assert (settings.host, settings.is_public) == (host.lower(), False)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "example.com", "::"])  # noqa: S104
def test_all_others_are_public(paths: Paths, host: str) -> None:
    assert load_settings(paths, {"SLMREG_HOST": host}).is_public


def test_names_and_origins_are_taken_as_clients_send_them(paths: Paths) -> None:
    environment = {
        "SLMREG_ALLOWED_HOSTS": "My-Machine.local, proxy",
        "SLMREG_ALLOWED_ORIGINS": "https://App.Example:8443,chrome-extension://abc",
    }
    settings = load_settings(paths, environment)
    assert settings.allowed_hosts == ("my-machine.local", "proxy")
    assert settings.allowed_origins == ("https://app.example:8443", "chrome-extension://abc")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALLOWED_ORIGINS", "null"),
        ("ALLOWED_ORIGINS", "*"),
        ("ALLOWED_ORIGINS", "app.example"),
        ("ALLOWED_ORIGINS", "https://app.example/"),
        ("ALLOWED_HOSTS", "*"),
        ("ALLOWED_HOSTS", "http://x"),
        ("HOST", "two words"),
        ("SOCKET", "/" + "x" * 200),
        ("MAX_JSON_DEPTH", "501"),
        ("MAX_CHOICES", "17"),
        ("HEADER_TIMEOUT_S", "0"),
    ],
)
def test_what_would_let_everybody_in_is_refused_by_name(paths: Paths, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"SLMREG_{name}"):
        load_settings(paths, {f"SLMREG_{name}": value})


def test_the_socket_is_where_the_settings_say_wherever_the_daemon_is_started(paths: Paths) -> None:
    assert load_settings(paths, {"SLMREG_SOCKET": "~/s"}).socket == Path.home() / "s"
    assert load_settings(paths, {"SLMREG_SOCKET": "s"}).socket == Path.cwd() / "s"


def test_locations_are_not_settings(paths: Paths) -> None:
    assert (
        load_settings(paths, {"SLMREG_HOME": "x", "SLMREG_FOUNDRY_CACHES": "y", "SLMREG_HF_CACHE": "z"}) == Settings()
    )


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


def test_every_limit_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_lists_and_tables_of_the_choice_can_stand_in_the_file_and_in_the_environment(paths: Paths) -> None:
    assert (Settings().allow, Settings().model_points, Settings().policy) == ((), {}, "balanced")
    write(paths, 'allow = ["phi*", "qwen*"]\npolicy = "fast"\n[model_points]\n"phi-4*" = 3\n')
    settings = load_settings(paths, {})
    assert (settings.allow, settings.model_points) == (("phi*", "qwen*"), {"phi-4*": 3.0})
    environment = {"SLMREG_ALLOW": "a*, b ,,", "SLMREG_DENY": "c", "SLMREG_LICENSE_POINTS": '{"*-nc-*": -20}'}
    settings = load_settings(paths, environment)
    assert (settings.allow, settings.deny, settings.policy) == (("a*", "b"), ("c",), "fast")
    assert settings.license_points == {"*-nc-*": -20.0}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODEL_POINTS", '{"a": 51}'),
        ("MODEL_POINTS", '{"a": NaN}'),
        ("LICENSE_POINTS", '{"a": -50.1}'),
        ("LICENSE_POINTS", '{"a": "much"}'),
        ("MODEL_POINTS", "[1]"),
        ("MODEL_POINTS", "phi*=3"),
        ("POLICY", "cheap"),
        ("MAX_SELECTIONS", "-1"),
        ("MAX_SELECTIONS", "1e9"),
        ("ALLOW", ",".join("x" * 101)),
    ],
)
def test_what_a_choice_cannot_count_is_refused_by_name(paths: Paths, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"SLMREG_{name}"):
        load_settings(paths, {f"SLMREG_{name}": value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("MAX_ITL_MS", "9"), ("MAX_ITL_MS", "111"), ("DRAFT_TOKENS", "-1"), ("DRAFT_TOKENS", "33")],
)
def test_what_no_step_of_a_model_could_keep_is_refused_by_name(paths: Paths, name: str, value: str) -> None:
    assert (Settings().max_itl_ms, Settings().draft_tokens) == (110, 8)
    with pytest.raises(SettingsError, match=f"SLMREG_{name}"):
        load_settings(paths, {f"SLMREG_{name}": value})


def test_levels_of_the_log_are_by_the_names_that_people_know(paths: Paths) -> None:
    assert (Settings().log_levels, Settings().log_files, Settings().log_file_bytes) == ({}, 5, 10_485_760)
    write(paths, 'log_level = "WARNING"\n[log_levels]\n"slmreg.pool" = "Debug"\napi = "info"\n')
    settings = load_settings(paths, {})
    assert settings.log_level == "warning"
    assert settings.log_levels == {"slmreg.pool": "debug", "slmreg.api": "info"}
    settings = load_settings(paths, {"SLMREG_LOG_LEVELS": '{"daemon.warm": "error"}'})
    assert settings.log_levels == {"slmreg.warm": "error"}


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("LOG_LEVELS", '{"slmreg.pol": "debug"}', "Did you mean slmreg.pool"),
        ("LOG_LEVELS", '{"slmreg.pool": "loud"}', "loud"),
        ("LOG_LEVELS", "slmreg.pool=debug", "SLMREG_LOG_LEVELS"),
        ("LOG_LEVEL", "loud", "SLMREG_LOG_LEVEL"),
        ("LOG_FILES", "101", "SLMREG_LOG_FILES"),
        ("LOG_FILE_BYTES", "4095", "SLMREG_LOG_FILE_BYTES"),
    ],
)
def test_what_cannot_be_logged_so_is_refused_by_name(paths: Paths, name: str, value: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=hint):
        load_settings(paths, {f"SLMREG_{name}": value})
