"""Command line: ``python -m scripts.model_factory tiny FOLDER [--precision int4] [--name ID] [--seed N]``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from scripts.model_factory import PRESETS, Quantization, write_preset


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.model_factory",
        description="Write an onnxruntime-genai model folder with random weights.",
    )
    parser.add_argument("preset", choices=list(PRESETS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--precision", choices=["int4", "int8", "fp32"], default="int4")
    parser.add_argument("--block-size", type=int, choices=[32, 128], default=32)
    parser.add_argument("--name", metavar="ID", help="write inference_model.json with this model id")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    quantization = Quantization.parse(arguments.precision, arguments.block_size)
    started = time.perf_counter()
    folder = write_preset(
        arguments.preset, arguments.folder, quantization=quantization, name=arguments.name, seed=arguments.seed
    )
    seconds = time.perf_counter() - started
    size_bytes = sum(file.stat().st_size for file in folder.iterdir())
    parameters = PRESETS[arguments.preset].spec.parameters
    print(
        f"{folder}: {parameters / 1e6:.2f} M parameters, {quantization}, {size_bytes / 1e6:.2f} MB in {seconds:.2f} s"
    )


if __name__ == "__main__":
    main()
