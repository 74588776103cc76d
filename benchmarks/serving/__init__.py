"""What serving through the daemon costs against a bare onnxruntime-genai loop, and what it must not cost."""
