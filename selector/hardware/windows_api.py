"""The two questions that only Windows' own library answers. Elsewhere both have no answer."""

from __future__ import annotations

import sys

_CORES_ONLY = 0  # RelationProcessorCore


def core_records() -> bytes:
    """GetLogicalProcessorInformationEx: one record for each core, of different lengths; b"" where there is none."""
    if sys.platform != "win32":
        return b""
    import ctypes

    ask = ctypes.windll.kernel32.GetLogicalProcessorInformationEx
    size = ctypes.c_uint32(0)
    ask(_CORES_ONLY, None, ctypes.byref(size))  # fails, and says how much room it needs
    buffer = ctypes.create_string_buffer(size.value)
    return buffer.raw[: size.value] if ask(_CORES_ONLY, buffer, ctypes.byref(size)) else b""


def has_feature(number: int) -> bool:
    """IsProcessorFeaturePresent, by the PF_ number of winnt.h."""
    if sys.platform != "win32":
        return False
    import ctypes

    return bool(ctypes.windll.kernel32.IsProcessorFeaturePresent(number))
