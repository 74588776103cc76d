"""``python -m scripts.quality_priors [--write]``: prints the residuals of the fit, and writes the table that ships."""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.quality_priors.report import report
from scripts.quality_priors.table import as_text, build_table

TABLE = Path(__file__).parents[2] / "selector" / "quality_priors.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.quality_priors", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.name}")
    if parser.parse_args().write:
        TABLE.write_text(as_text(build_table()), encoding="utf-8", newline="\n")
        print(f"{TABLE} written")
    for line in report():
        print(line)


if __name__ == "__main__":
    main()
