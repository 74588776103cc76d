"""Which versions of slmreg and its engines are installed, read from their metadata: nothing of them is imported."""

from __future__ import annotations

from importlib import metadata

# The engine, under the names that its packages for different devices have. They install the same files.
GENAI_PACKAGES = ("onnxruntime-genai", "onnxruntime-genai-cuda", "onnxruntime-genai-directml")
# What it computes with, likewise.
RUNTIME_PACKAGES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-migraphx",
    "onnxruntime-qnn",
)


def installed_version(package: str) -> str | None:
    """None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def requirements_of(package: str) -> tuple[str, ...]:
    """What it says that it needs ("onnxruntime>=1.31.0"); () where it is not installed."""
    try:
        return tuple(metadata.requires(package) or ())
    except metadata.PackageNotFoundError:
        return ()


def all_versions() -> dict[str, str]:
    """Of the engine and its runtime, by package: those that are installed."""
    names = (*GENAI_PACKAGES, *RUNTIME_PACKAGES)
    return {name: version for name in names if (version := installed_version(name)) is not None}
