from __future__ import annotations

from pathlib import Path

import pytest

from daemon.doctor.finding import Finding, Level
from daemon.doctor.installation import service_finding, version_findings
from daemon.versions import all_versions, requirements_of

NEEDS = ("numpy>=1.21.6", "onnxruntime>=1.31.0")


def found(installed: dict[str, str]) -> list[Finding]:
    return list(version_findings(installed.get, lambda name: NEEDS if "genai" in name else ()))


def test_versions_are_told_and_an_engine_is_needed() -> None:
    (fine,) = found({"onnxruntime-genai-cuda": "0.18.0", "onnxruntime": "1.31.1"})
    assert fine.level is Level.OK
    (missing,) = found({})
    assert missing.level is Level.PROBLEM
    assert "pip install" in (missing.advice or "")


@pytest.mark.parametrize(
    ("runtime", "fits"), [("1.31.0", True), ("1.100.0", True), ("2.0.0rc1", True), ("1.30.9", False), ("1.4", False)]
)
def test_a_runtime_older_than_the_engine_needs_is_a_problem(runtime: str, fits: bool) -> None:
    told = found({"onnxruntime-genai": "0.18.0", "onnxruntime": runtime})
    assert [finding.level for finding in told[1:]] == ([] if fits else [Level.PROBLEM])
    assert fits or "onnxruntime>=1.31.0" in (told[1].advice or "")


def test_packages_that_write_the_same_files_are_a_problem() -> None:
    told = found({"onnxruntime-genai": "0.18.0", "onnxruntime-genai-cuda": "0.18.0", "onnxruntime": "1.31.0"})
    assert [finding.level for finding in told] == [Level.OK, Level.PROBLEM]
    assert "pip uninstall onnxruntime-genai onnxruntime-genai-cuda" in (told[1].advice or "")


def test_what_is_installed_here_fits() -> None:
    levels = {finding.level for finding in version_findings(all_versions().get, requirements_of)}
    assert levels == {Level.OK}


def test_whether_it_starts_by_itself_is_good_or_worth_a_note(tmp_path: Path) -> None:
    assert service_finding((tmp_path / "slmreg.service",)).level is Level.OK
    assert service_finding(()).level is Level.NOTE
