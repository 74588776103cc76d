"""Picture files of strangers, decoded by Pillow and written anew as plain PNG files.

onnxruntime-genai 0.18 decodes JPEG files with a library that ends the whole process at the first damaged one (measured:
each of ten files that were cut off or had some bytes changed, but one). Damaged PNG files it only refuses, and those
that are written here are whole.
"""

from __future__ import annotations

import io
import warnings

from PIL import Image, ImageOps

from registry.errors import InvalidRequest

# A photograph of a good camera; decoded, 3 bytes each.
MAX_PIXELS = 64_000_000
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
# Fast: the file only goes from here into the next decoder.
_COMPRESSION = 1


def as_png(content: bytes) -> bytes:
    """The picture in a file, the way up that its camera was held; of an animation the first. Raises InvalidRequest."""
    try:
        with warnings.catch_warnings():
            # Pillow only warns of pictures that are larger than it likes.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=_FORMATS)
        _require_small(*image.size)
        upright = ImageOps.exif_transpose(image).convert("RGB")
    except InvalidRequest:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise _refused(f"has more than {MAX_PIXELS} pixels: make it smaller") from error
    except Exception as error:  # decoders of strangers' files raise whatever they stumble over
        raise _refused(f"is damaged, or is no file of the kinds {', '.join(_FORMATS)}") from error
    file = io.BytesIO()
    upright.save(file, "PNG", compress_level=_COMPRESSION)
    return file.getvalue()


def _require_small(width: int, height: int) -> None:
    """Before anything is decoded."""
    if width * height > MAX_PIXELS:
        raise _refused(f"has {width} x {height} pixels, which is more than {MAX_PIXELS}: make it smaller")


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"An image {why}.", param="messages")
