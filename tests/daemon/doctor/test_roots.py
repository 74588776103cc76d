from __future__ import annotations

from pathlib import Path

from daemon.doctor.finding import Level
from daemon.doctor.roots import Look, look_at, root_findings
from registry.model import Root, Source, Status
from tests.fakes import a_model

MODELS = Path("/models")


def test_each_root_is_told_with_what_is_wrong_with_it() -> None:
    def root(name: str, **fields: bool) -> Root:
        return Root(MODELS / name, Source.FOLDER, **fields)

    roots = [
        root("fine"),
        root("off", is_enabled=False),
        root("usb", exists=False, added_by_user=True),
        root("foundry", exists=False),
        root("locked"),
        root("nfs"),
        root("slow"),
        root("fuse"),
    ]
    looks = {
        "locked": Look(refused="Permission denied"),
        "slow": Look(seconds=3.0),
        "fuse": Look(polled="a FUSE mount"),
    }
    watching = [{"path": str(MODELS / "nfs"), "method": "polling", "reason": "it is on a network file system"}]
    models = [a_model("a", path=MODELS / "fine" / "a"), a_model("b", path=MODELS / "fine" / "b", status=Status.MISSING)]
    found = list(root_findings(roots, models, lambda path: looks.get(path.name, Look()), {"watching": watching}))
    assert [finding.level for finding in found] == [
        *(Level.OK, Level.OK, Level.NOTE, Level.OK, Level.PROBLEM, Level.NOTE, Level.NOTE, Level.NOTE)
    ]
    assert "1 models" in found[0].message
    for finding, says in zip(found[4:], ("Permission denied", "network", "3.0 s", "FUSE"), strict=True):
        assert says in finding.message
    assert [finding.advice for finding in found[:2]] == [None, None]


def test_a_folder_is_looked_at(tmp_path: Path) -> None:
    assert look_at(tmp_path).refused is None
    assert look_at(tmp_path / "nothing").refused == "No such file or directory"
