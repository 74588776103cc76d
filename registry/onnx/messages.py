"""The messages of ``onnx.proto`` (ONNX IR, version 3 on), as far as they describe a model, for protobuf's parser in C.

Declared here, in a pool of their own, so that they get along with the onnx package whether it is installed or not, and
so that what is rarely wanted stays unparsed: a message that is declared as ``bytes`` here is parsed where it is read.
That also bounds memory, as a message of no bytes takes about a hundred in memory. Texts are bytes too: whether they are
UTF-8 is for the reader to say. Importing this module takes 28 ms: it is imported when the first graph is read.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

__all__ = ["Attribute", "DecodeError", "Function", "Graph", "Model", "NumberAttribute", "Type", "WiredGraph"]

_PACKAGE = "slmreg"
_MESSAGE, _BYTES, _TEXT = (
    FieldDescriptorProto.TYPE_MESSAGE,
    FieldDescriptorProto.TYPE_BYTES,
    FieldDescriptorProto.TYPE_STRING,
)
_INT32, _INT64 = FieldDescriptorProto.TYPE_INT32, FieldDescriptorProto.TYPE_INT64
# Of sizes: a negative one then shows as one that is far too large.
_SIZE = FieldDescriptorProto.TYPE_UINT64
# Keys and values: the same bytes as a list of StringStringEntryProto, and found in half the time.
_MAP = "map"
_ONE, _MANY = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED

# By message its fields: name, number, type or message, and how many. A graph that may be there once is repeated here:
# protobuf merges a message that stands there more often, and of bytes it would keep only the last.
_MESSAGES: dict[str, tuple[tuple[str, int, int | str, int], ...]] = {
    "Model": (("graph", 7, _BYTES, _MANY), ("functions", 25, _BYTES, _MANY)),
    "Function": (("node", 7, "Node", _MANY),),
    "Graph": (
        ("node", 1, "Node", _MANY),
        ("initializer", 5, "Tensor", _MANY),
        ("input", 11, "ValueInfo", _MANY),
        ("output", 12, "ValueInfo", _MANY),
        ("sparse_initializer", 15, "SparseTensor", _MANY),
    ),
    "Node": (("input", 1, _BYTES, _MANY), ("op_type", 4, _BYTES, _ONE), ("attribute", 5, _BYTES, _MANY)),
    # The same with where the results of nodes go, for those who look at how they are connected.
    "WiredGraph": (
        ("node", 1, "WiredNode", _MANY),
        ("initializer", 5, "Tensor", _MANY),
        ("input", 11, "ValueInfo", _MANY),
        ("output", 12, "ValueInfo", _MANY),
    ),
    "WiredNode": (
        ("input", 1, _BYTES, _MANY),
        ("output", 2, _BYTES, _MANY),
        ("op_type", 4, _BYTES, _ONE),
        ("attribute", 5, _BYTES, _MANY),
        ("domain", 7, _BYTES, _ONE),
    ),
    "Attribute": (
        ("name", 1, _BYTES, _ONE),
        ("i", 3, _INT64, _ONE),
        ("s", 4, _BYTES, _ONE),
        ("t", 5, "Tensor", _ONE),
        ("g", 6, _BYTES, _MANY),
        ("tensors", 10, "Tensor", _MANY),
        ("graphs", 11, _BYTES, _MANY),
        ("sparse_tensor", 22, "SparseTensor", _ONE),
        ("sparse_tensors", 23, "SparseTensor", _MANY),
    ),
    # Of a constant that is of numbers: what stands in a tensor is not read elsewhere.
    "NumberAttribute": (("t", 5, "Number", _ONE),),
    "Number": (("data_type", 2, _INT32, _ONE), ("int64_data", 7, _INT64, _MANY), ("raw_data", 9, _BYTES, _ONE)),
    "Tensor": (
        ("dims", 1, _SIZE, _MANY),
        ("data_type", 2, _INT32, _ONE),
        ("name", 8, _BYTES, _ONE),
        ("external_data", 13, _MAP, _MANY),
    ),
    "SparseTensor": (("values", 1, "Tensor", _ONE), ("indices", 2, "Tensor", _ONE)),
    "ValueInfo": (("name", 1, _BYTES, _ONE), ("type", 2, _BYTES, _ONE)),
    "Type": (("tensor_type", 1, "TensorType", _ONE),),
    "TensorType": (("elem_type", 1, _INT32, _ONE), ("shape", 2, "Shape", _ONE)),
    "Shape": (("dim", 1, "Dimension", _MANY),),
    "Dimension": (("dim_value", 1, _SIZE, _ONE),),
}


def _pool() -> DescriptorPool:
    file = FileDescriptorProto(name="slmreg/onnx.proto", package=_PACKAGE, syntax="proto2")
    for message, fields in _MESSAGES.items():
        declared = file.message_type.add(name=message)
        for name, number, kind, label in fields:
            field = declared.field.add(name=name, number=number, label=label)
            if isinstance(kind, int):
                field.type = kind
            else:
                field.type = _MESSAGE
                field.type_name = f".{_PACKAGE}.{_add_entry(declared, name) if kind == _MAP else kind}"
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _add_entry(message: Any, field: str) -> str:
    """Declare what an entry of a map is, under the name that protobuf derives from the field's; returns that name."""
    entry = message.nested_type.add(name=field.title().replace("_", "") + "Entry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=_ONE, type=_TEXT)
    entry.field.add(name="value", number=2, label=_ONE, type=_BYTES)
    return f"{message.name}.{entry.name}"


def _class(name: str) -> Any:
    return GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


_POOL = _pool()
Model, Graph, Function = _class("Model"), _class("Graph"), _class("Function")
Attribute, Type = _class("Attribute"), _class("Type")
WiredGraph, NumberAttribute = _class("WiredGraph"), _class("NumberAttribute")
