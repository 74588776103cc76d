"""Every problem code of the registry, in one table: what it means for the folder or model that has it.

A code is part of the contract (``slmreg scan --json``, ``GET /slmreg/models``). The message that goes with it is
written where the problem is seen, and says what is wrong, in which file, and what to do.
"""

from __future__ import annotations

from enum import StrEnum

from registry.model import Status


class ProblemCode(StrEnum):
    """The first group keeps a folder from being used, the second is something to know about a usable model."""

    UNFINISHED = "unfinished"  # a download or copy is still running, or was interrupted
    UNREADABLE = "unreadable"  # the operating system refuses to read the folder or one of its files
    PATH_NOT_UTF8 = "path_not_utf8"  # a name that cannot be written as text
    LINK_NOT_FOLLOWED = "link_not_followed"  # a linked folder with a model in it; links are not followed
    SCAN_LIMIT = "scan_limit"  # more folders under a root, or files in a folder, than a scan looks at
    LINK_LEAVES_ROOTS = "link_leaves_roots"  # a file of the model is a link to a place outside of every root
    NOT_GENAI = "not_genai"  # a plain ONNX export: onnxruntime-genai needs more than it has
    PACKAGE_INVALID = "package_invalid"  # a model package whose manifest or variants cannot be understood
    GENAI_CONFIG_MISSING = "genai_config_missing"  # there is an inference_model.json but no genai_config.json
    GENAI_CONFIG_INVALID = "genai_config_invalid"  # not JSON, or a field that cannot be understood
    GRAPH_MISSING = "graph_missing"  # genai_config.json names an ONNX file that is not there
    GRAPH_INVALID = "graph_invalid"  # not an ONNX protobuf, or cut off
    EXTERNAL_DATA_MISSING = "external_data_missing"  # the graph's weights file is not there
    EXTERNAL_DATA_TOO_SHORT = "external_data_too_short"  # the weights file ends before the graph's last tensor
    EXTERNAL_DATA_ZEROED = "external_data_zeroed"  # a weights file is full of zeros where weights should be
    CONTENT_DAMAGED = "content_damaged"  # a full check found other bytes than were there before, or than were published
    PATH_LEAVES_FOLDER = "path_leaves_folder"  # a file name that points outside the model's folder
    TOKENIZER_MISSING = "tokenizer_missing"  # no tokenizer file
    CUSTOM_OPS_LIBRARY = "custom_ops_library"  # loading it would run native code that came with the model

    CATALOG_INVALID = "catalog_invalid"  # a file at the top of a Foundry cache cannot be used, or not all of it
    INFERENCE_MODEL_INVALID = "inference_model_invalid"  # inference_model.json cannot be read; its folder names it
    TOKENIZER_CONFIG_INVALID = "tokenizer_config_invalid"  # tokenizer_config.json cannot be read
    NO_CHAT_TEMPLATE = "no_chat_template"  # a text model without a template: its tokens may still prove its format
    NO_KNOWN_TASK = "no_known_task"  # a type of model that slmreg offers no task for
    MODEL_CONFIG_INVALID = "model_config_invalid"  # Olive's model_config.json cannot be read; its facts are lost
    UNKNOWN_EXECUTION_PROVIDER = "unknown_execution_provider"
    DUPLICATE_ID = "duplicate_id"  # another folder has this id; the model is listed under an id of its own


_STATUS = {
    ProblemCode.UNFINISHED: Status.PARTIAL,
    ProblemCode.CUSTOM_OPS_LIBRARY: Status.BLOCKED,
}


def status_of(code: str) -> Status:
    """The status of a folder that cannot be used because of ``code``; INVALID unless the table says otherwise."""
    return _STATUS.get(ProblemCode(code), Status.INVALID)
