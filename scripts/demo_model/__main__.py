"""``python -m scripts.demo_model generate|train|export|evaluate|all``: makes the model that ships with slmreg."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

SEED = 7
DIALOGUES = 64_000
REPOSITORY = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.demo_model", description=__doc__)
    parser.add_argument("step", choices=("generate", "train", "export", "evaluate", "all"))
    parser.add_argument(
        "--work", type=Path, default=REPOSITORY / "build" / "demo_model", help="folder between the steps"
    )
    parser.add_argument("--out", type=Path, default=REPOSITORY / "registry" / "demo_model", help="folder of the model")
    parser.add_argument("--dialogues", type=int, default=DIALOGUES, help="how many dialogues to train on")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.step in ("generate", "all"):
        generate(arguments.work / "dialogues.jsonl", arguments.seed, arguments.dialogues)
    if arguments.step in ("train", "all"):
        # Threads that spin while they wait lose to other programs: 1,400 tokens/s against 6,000 on a busy machine.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        from scripts.demo_model.train import train

        train(arguments.work, seed=arguments.seed)
    if arguments.step in ("export", "all"):
        from scripts.demo_model.export import export

        export(arguments.work, arguments.out)
    if arguments.step in ("evaluate", "all"):
        from scripts.demo_model.evaluate import evaluate

        evaluate(arguments.out, seed=arguments.seed + 1, per_kind=100)


def generate(file: Path, seed: int, count: int) -> None:
    from scripts.demo_model.dialogues import training_dialogues

    with file.open("w", encoding="utf-8") as lines:
        for dialogue in training_dialogues(seed, count):
            lines.write(json.dumps(asdict(dialogue), ensure_ascii=False) + "\n")
    print(f"{count} dialogues in {file}")


if __name__ == "__main__":
    main()
