from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from daemon.doctor.bundle import Known, Person, Report, last_lines, private_names, write_bundle
from daemon.doctor.private import Scrubber, harmless_log, harmless_settings
from daemon.settings import Settings
from registry.errors import InvalidRequest
from registry.model import ApiKey, FolderProblem, Hint, KeyScope, Pin, Preset, Root, Source, Task
from tests.fakes import a_model

HOME = Path("/home/canaryuser")
PERSON = Person("canaryuser", "canaryhost.example.org", HOME, {"data": HOME / ".local" / "share" / "slmreg"})
MODEL = a_model("canarymodel", path=Path("/mnt/canary disk/canaryfolder"))
KNOWN = Known(
    models=(MODEL, a_model("a.b+c", path=HOME / "models" / "x")),
    problems=(FolderProblem(Path("/mnt/canary disk/canarybroken"), "graph_missing", "No graph."),),
    roots=(Root(Path("/mnt/canary disk"), Source.FOLDER),),
    pins=(Pin(Task.CHAT, "canarypin", is_waiting=True),),
    presets=(Preset(name="canarypreset", base="canarymodel"),),
    hints=(Hint("canaryhint"),),
    keys=(ApiKey("canarykeyname", KeyScope.USE, "0" * 64, 0.0),),
)
MESSAGES = [
    "canarymodel:1 and CanaryModel, a.b+c:1",
    "/mnt/canary disk/canaryfolder/model.onnx is missing",
    "/mnt/canary disk/canarybroken: No graph.",
    "/mnt/canary disk (folder, 1 models)",
    "/home/canaryuser/secret canary/x",
    "[Errno 13] Permission denied: '/srv/canary folder/x'",
    "/srv/canary/x cannot be read; C:\\Users\\canary\\x neither",
    "canarypin, canarypreset, canaryhint and canarykeyname of canaryuser at canaryhost or canaryhost.example.org",
    "Bearer canarytoken, sk-slmreg-canary0123, http://canary:canary@127.0.0.1/v1",
]
LOG = """\
{"time": "2026-11-27T09:14:03Z", "level": "info", "logger": "slmreg", \
"message": "model.added id=canary:1 status=ready path=/mnt/canary/x count=12"}
a line of canary that is no JSON
{"time": "2026-11-27T09:14:04Z", "level": "info", "logger": "slmreg.access", "path": "canary", "seconds": 1.5}
{"message": "canary asks", "time": "canary", "level": "canary !", "prompt": ["canary"]}
{"time": "2026-11-27T09:14:05Z", "level": "error", "logger": "slmreg", "message": "scan.failed path=canary tries=3", \
"trace": "Traceback\\n  File \\"/home/canary/daemon/app.py\\", line 7, in f\\n    canary()\\nValueError: canary"}
{"cut off canary
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    settings = Settings(host="canaryhost", allowed_hosts=("canary",), deny=("canary*",), model_points={"canary*": 1})
    findings = [{"level": "note", "subject": "x", "message": each, "items": MESSAGES} for each in MESSAGES]
    report = Report(
        {"ok": True, "findings": findings}, {"slmreg": "1"}, {"disks": MESSAGES}, settings, LOG.splitlines()
    )
    names = private_names(PERSON, KNOWN, with_models=False)
    write_bundle(tmp_path / "report.zip", report, Scrubber(names), with_models=False)
    return tmp_path / "report.zip"


def contents(bundle: Path) -> dict[str, str]:
    with zipfile.ZipFile(bundle) as opened:
        return {name: opened.read(name).decode() for name in opened.namelist()}


def test_nothing_private_gets_into_a_bundle(bundle: Path) -> None:
    files = contents(bundle)
    assert set(files) == {"about.txt", "doctor.json", "versions.json", "hardware.json", "settings.json", "log.txt"}
    for name, content in files.items():
        assert "canary" not in content.lower(), name
    assert "a.b+c" not in files["doctor.json"]
    assert bundle.stat().st_mode & 0o077 == 0


def test_what_helps_stays_in_a_bundle(bundle: Path) -> None:
    files = contents(bundle)
    message = json.loads(files["doctor.json"])["findings"][0]["message"]
    assert message == "model-1 and model-1, model-2"
    assert "<root-1> (folder, 1 models)" in files["doctor.json"]
    assert json.loads(files["settings.json"])["port"] == 7567
    first, second, third, last = map(json.loads, files["log.txt"].splitlines())
    assert first["message"] == "model.added id=... status=ready path=... count=12"
    assert (second["logger"], second["path"], second["seconds"]) == ("slmreg.access", "...", 1.5)
    assert (third["time"], third["prompt"]) == ("...", "...")
    assert (last["message"], last["trace"]) == ("scan.failed path=... tries=3", "daemon/app.py:7 ValueError")


def test_names_of_models_stay_where_they_are_wanted() -> None:
    scrub = Scrubber(private_names(PERSON, KNOWN, with_models=True)).text
    assert (
        scrub("canarymodel:1 of canaryuser in /mnt/canary disk/canaryfolder") == "canarymodel:1 of <user> in <folder>"
    )


def test_the_home_of_a_user_that_has_none_names_nobody() -> None:
    names = private_names(Person("", "", Path("/"), {}), Known(), with_models=False)
    assert Scrubber(names).text("3/4 of /proc/self") == "3/4 of /proc/self"


@pytest.mark.parametrize(
    "text",
    [
        "root: <root-1> at http://127.0.0.1:7567/v1/chat, 3/4 of /proc/self",
        "`slmreg roots add PATH` tells; the model canary-modelling is another",
        "2.4 GB are free",
    ],
)
def test_what_tells_nothing_of_anybody_is_left_as_it_is(text: str) -> None:
    names = private_names(Person("root", "canary", HOME, {}), Known((a_model("model"),)), with_models=True)
    assert Scrubber({"ana": "x", **names}).text(text.replace("canary", "kanary")) == text.replace("canary", "kanary")


def test_settings_that_could_name_something_say_only_that_they_are_set() -> None:
    told = harmless_settings(Settings(host="127.0.0.1", threads=3, allow=("phi*", "qwen*")))
    assert (told["host"], told["threads"], told["allow"]) == ("<set>", 3, "<2 entries>")
    assert (told["log_level"], told["policy"], told["socket"]) == ("info", "balanced", None)


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    report = Report({}, {}, {}, None, [])
    (tmp_path / "thesis.zip").write_text("all of it", encoding="utf-8")
    for path in (tmp_path / "thesis.zip", tmp_path / "no" / "folder.zip"):
        with pytest.raises(InvalidRequest):
            write_bundle(path, report, Scrubber({}), with_models=True)
    assert (tmp_path / "thesis.zip").read_text(encoding="utf-8") == "all of it"


def test_the_end_of_the_logs_is_taken(tmp_path: Path) -> None:
    log = tmp_path / "slmreg.log"
    log.write_text("".join(f"line {number}\n" for number in range(100_000)), encoding="utf-8")
    lines = last_lines([log, tmp_path / "nothing.log"])
    assert (len(lines), lines[-1]) == (300, "line 99999")
    assert list(harmless_log(lines)) == []
