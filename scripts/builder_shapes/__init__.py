"""Holds the batched engine beside onnxruntime-genai on folders of onnxruntime-genai's own model builder."""
