"""From ``model.type`` in genai_config.json to the family name people use, and to what such a model can be asked.

Types are those of onnxruntime-genai 0.18.
"""

from __future__ import annotations

# Longest prefix wins.
_FAMILIES = {
    "chatglm": "glm",
    "deepseek": "deepseek",
    "ernie": "ernie",
    "fara": "qwen",
    "gemma": "gemma",
    "gpt2": "gpt2",
    "gptoss": "gpt-oss",
    "granite": "granite",
    "hunyuan": "hunyuan",
    "internlm": "internlm",
    "lfm2": "lfm",
    "llama": "llama",
    "marian": "marian",
    "mistral": "mistral",
    "moonshine": "moonshine",
    "nemotron": "nemotron",
    "olmo": "olmo",
    "parakeet": "parakeet",
    "phi": "phi",
    "qwen": "qwen",
    "smollm": "smollm",
    "streaming_enc_dec_asr": "moonshine",
    "videochat_flash_qwen": "qwen",
    "whisper": "whisper",
}
_TRANSCRIBERS = ("whisper", "parakeet", "nemotron_speech", "streaming_enc_dec_asr", "moonshine", "cohere_asr")
_LISTENERS = ("lfm2_audio", "phi4mm", "gemma4_unified", "gemma3n")
_ENCODERS = frozenset(
    {
        *("bert", "distilbert", "roberta", "xlm_roberta", "xlm-roberta", "camembert", "mpnet", "electra", "albert"),
        *("deberta", "deberta-v2", "nomic_bert", "modernbert", "new", "gte", "embedding"),
    }
)
_TRANSLATORS = ("marian",)


def family_of(model_type: str) -> str:
    """The family, or the type itself where no family is known."""
    plain = model_type.lower()
    prefixes = [prefix for prefix in _FAMILIES if plain.startswith(prefix)]
    return _FAMILIES[max(prefixes, key=len)] if prefixes else plain


def is_transcriber(model_type: str) -> bool:
    return model_type.lower().startswith(_TRANSCRIBERS)


def is_encoder(model_type: str) -> bool:
    """True for models that turn a text into one vector."""
    return model_type.lower() in _ENCODERS


def is_listener(model_type: str) -> bool:
    """True for models that talk about what they hear, where the configuration has a part for it."""
    return model_type.lower().startswith(_LISTENERS)


def is_translator(model_type: str) -> bool:
    """Encoder-decoder text models: they answer nothing that slmreg has a task for."""
    return model_type.lower().startswith(_TRANSLATORS)
