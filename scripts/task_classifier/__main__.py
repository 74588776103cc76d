"""``python -m scripts.task_classifier [--write] [--misses]``: how often the classifier is right; fits its weights."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from scripts.task_classifier.fit import build_table, fit
from scripts.task_classifier.prompts import by_hand, held_out, training

WEIGHTS = Path(__file__).parents[2] / "selector" / "task_weights.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.task_classifier", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"fit and write {WEIGHTS.name}")
    parser.add_argument("--misses", choices=("heldout", "by_hand"), help="list what is taken for another task")
    options = parser.parse_args()
    if options.write:
        WEIGHTS.write_text(as_text(build_table(fit(list(training())))), encoding="utf-8", newline="\n")
        print(f"{WEIGHTS} written")
    # The classifier reads its weights when it is imported.
    from scripts.task_classifier.report import misses, report

    lines = report() if options.misses is None else misses(held_out() if options.misses == "heldout" else by_hand())
    for line in lines:
        print(line)


def as_text(table: dict[str, Any]) -> str:
    """One line for each feature, so that a change can be read."""
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in table["weights"].items())
    head = ",\n".join(f"{json.dumps(key)}: {json.dumps(table[key])}" for key in ("tasks", "bias"))
    return f'{{{head},\n"weights": {{\n{rows}\n}}}}\n'


if __name__ == "__main__":
    main()
