"""ONNX files described from their bytes, without loading weights."""
