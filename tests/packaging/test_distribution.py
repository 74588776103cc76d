"""What is published: built as pip builds it, without the network, and used from a clean environment."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from daemon import __version__

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = ("registry", "selector", "daemon")
# Everything in the packages that is no Python.
DATA = {
    *(f"daemon/api/pages/docs.{kind}" for kind in ("css", "html", "js")),
    *(f"{package}/py.typed" for package in PACKAGES),
    *("selector/quality_priors.json", "selector/task_weights.json"),
    *(f"registry/demo_model/{name}.json" for name in ("genai_config", "inference_model", "tokenizer")),
    *(f"registry/demo_model/{name}" for name in ("tokenizer_config.json", "model.onnx", "chat_template.jinja")),
}
OURS_OF_THE_WHEEL = ("METADATA", "WHEEL", "entry_points.txt", "licenses/LICENSE", "RECORD")
BESIDE_THE_PACKAGES = {"LICENSE", "README.md", "pyproject.toml", "PKG-INFO", ".gitignore"}


@dataclass(frozen=True)
class Built:
    sdist: Path
    wheel: Path
    wheel_of_sdist: Path


def build(tree: Path, out: Path, *targets: str) -> None:
    flags = [flag for target in targets for flag in ("-t", target)]
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(out), *flags]
    subprocess.run(command, cwd=tree, check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    place = tmp_path_factory.mktemp("dist")
    build(ROOT, place / "tree", "sdist", "wheel")
    (sdist,) = (place / "tree").glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        packed.extractall(place, filter="data")
    build(place / sdist.name.removesuffix(".tar.gz"), place / "again", "wheel")
    (wheel,) = (place / "tree").glob("*.whl")
    (again,) = (place / "again").glob("*.whl")
    return Built(sdist, wheel, again)


def sources() -> set[str]:
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return {file.relative_to(ROOT).as_posix() for file in files}


def digests(wheel: Path) -> dict[str, str]:
    with zipfile.ZipFile(wheel) as opened:
        return {name: hashlib.sha256(opened.read(name)).hexdigest() for name in opened.namelist()}


def test_the_wheel_has_the_packages_with_their_data_and_nothing_else(built: Built) -> None:
    ours = {f"slmreg-{__version__}.dist-info/{name}" for name in OURS_OF_THE_WHEEL}
    assert set(digests(built.wheel)) == sources() | DATA | ours
    assert "registry/index/migrations/versions/r0001_first_schema.py" in sources()


def test_the_sdist_has_what_the_wheel_is_made_of_and_the_documents(built: Built) -> None:
    with tarfile.open(built.sdist) as packed:
        found = {name.partition("/")[2] for name in packed.getnames()}
    documents = {file.relative_to(ROOT).as_posix() for file in (ROOT / "docs").glob("*.md")}
    assert found == sources() | DATA | documents | BESIDE_THE_PACKAGES


def test_the_sdist_makes_the_same_wheel_as_the_tree(built: Built) -> None:
    assert digests(built.wheel_of_sdist) == digests(built.wheel)


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as opened:
        return Parser().parsestr(opened.read(f"slmreg-{__version__}.dist-info/METADATA").decode())


def test_the_metadata_say_what_the_project_says(built: Built) -> None:
    told = metadata(built.wheel)
    assert (told["Name"], told["Version"], told["Summary"]) == ("slmreg", __version__, PROJECT["description"])
    assert (told["License-Expression"], told.get_all("License-File")) == ("MIT", ["LICENSE"])
    assert told["Requires-Python"] == PROJECT["requires-python"]
    assert told["Description-Content-Type"] == "text/markdown"
    assert set(told.get_all("Provides-Extra") or ()) == set(PROJECT["optional-dependencies"])
    needed = [line for line in told.get_all("Requires-Dist") or () if "extra ==" not in line]
    assert sorted(needed) == sorted(PROJECT["dependencies"])
    assert set(PROJECT["classifiers"]) == set(told.get_all("Classifier") or ())
    with zipfile.ZipFile(built.wheel) as opened:
        scripts = opened.read(f"slmreg-{__version__}.dist-info/entry_points.txt").decode()
    assert scripts.split() == ["[console_scripts]", "slmreg", "=", "daemon.cli:main"]


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``slmreg`` of a clean environment, which has its dependencies from this one, and nothing of the checkout."""
    place = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True, timeout=60)
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*pip, str(built.wheel)], check=True, timeout=60)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(place), "platbase": str(place)}))
    # Only added to the path: what an editable install has put there to find the checkout does not count.
    ours = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (packages / "dependencies.pth").write_text("".join(f"{path}\n" for path in ours), encoding="utf-8")
    return python.parent / "slmreg"


def run(program: Path, *arguments: str, place: Path) -> subprocess.CompletedProcess[str]:
    """In an empty folder, and with temporary files in it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLMREG_", "PYTHON"))}
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(place))
    environment = {**kept, **places, "SLMREG_HOME": str(place / "home")}
    return subprocess.run(
        [str(program), *arguments], cwd=place, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_installed_program_runs_its_own_code(installed: Path, tmp_path: Path) -> None:
    where = "import daemon, registry, selector; print(daemon.__file__, registry.__file__, selector.__file__)"
    files = run(installed.with_name("python"), "-c", where, place=tmp_path).stdout.split()
    assert [Path(file).is_relative_to(installed.parents[1]) for file in files] == [True, True, True]
    version = run(installed, "--version", place=tmp_path)
    assert version.stdout.startswith(f"slmreg {__version__} (Python ")
    assert "onnxruntime-genai" in version.stdout


def test_the_demo_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    done = run(installed, "demo", place=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every step worked" in done.stdout
    assert list(tmp_path.glob("slmreg-*")) == []
