"""The backend that advances many rows in one call of plain onnxruntime, for the decoders that allow it."""
