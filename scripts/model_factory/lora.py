"""Makes a model take LoRA adapters, and writes some, in the forms that Olive's passes give them.

Each adapted matrix gets two optional inputs, whose defaults have the rank 0 and so add nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

_RANK = "lora_r"
_A, _B = "lm_head.lora_A.weight", "lm_head.lora_B.weight"
_HEAD = "logits"


def take_adapters(folder: Path) -> Path:
    """Let the head of the factory's model in ``folder`` be adapted, and return the folder."""
    path = folder / "model.onnx"
    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    head = next(node for node in graph.node if _HEAD in node.output)
    hidden_size, vocab_size = _sizes(model)
    head.output[:] = ["/lm_head/base"]
    graph.node.extend(
        [
            helper.make_node("MatMul", [head.input[0], _A], ["/lm_head/lora_A"], name="/lm_head/lora_A/MatMul"),
            helper.make_node("MatMul", ["/lm_head/lora_A", _B], ["/lm_head/lora_B"], name="/lm_head/lora_B/MatMul"),
            helper.make_node("Add", ["/lm_head/base", "/lm_head/lora_B"], [_HEAD], name="/lm_head/lora/Add"),
        ]
    )
    for name, shape, default in (
        (_A, (hidden_size, _RANK), np.zeros((hidden_size, 0), np.float32)),
        (_B, (_RANK, vocab_size), np.zeros((0, vocab_size), np.float32)),
    ):
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        graph.initializer.append(numpy_helper.from_array(default, name))
    path.write_bytes(model.SerializeToString(deterministic=True))
    return folder


def write_head_adapter(path: Path, folder: Path, *, seed: int, rank: int = 4, strength: float = 1.0) -> Path:
    """An adapter for ``take_adapters``'s model in ``folder``, strong enough to change what it says."""
    hidden_size, vocab_size = _sizes(onnx.load(folder / "model.onnx", load_external_data=False))
    random = np.random.default_rng(seed)
    arrays = {
        _A: random.standard_normal((hidden_size, rank), np.float32),
        _B: strength * random.standard_normal((rank, vocab_size), np.float32),
    }
    adapter = onnxruntime.AdapterFormat()
    adapter.set_adapter_version(1)
    adapter.set_model_version(1)
    adapter.set_parameters({name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    adapter.export_adapter(str(path))
    return path


def _sizes(model: onnx.ModelProto) -> tuple[int, int]:
    """Width of the hidden state and of the vocabulary."""
    vocab_size = next(each for each in model.graph.output if each.name == _HEAD).type.tensor_type.shape.dim[2].dim_value
    norm = next(each for each in model.graph.initializer if "final_norm" in each.name)
    return norm.dims[0], vocab_size
