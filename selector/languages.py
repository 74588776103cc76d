"""Which languages a model knows, as far as anybody says so. Pure."""

from __future__ import annotations

from registry.model import Model

# ISO 639-1, by what the makers' model cards claim; a family that is not listed claims nothing that could be relied on.
_PHI_4_MINI = frozenset(
    {
        "ar",
        "cs",
        "da",
        "de",
        "en",
        "es",
        "fi",
        "fr",
        "he",
        "hu",
        "it",
        "ja",
        "ko",
        "nl",
        "no",
        "pl",
        "pt",
        "ru",
        "sv",
        "th",
        "tr",
        "uk",
        "zh",
    }
)
_LLAMA_3 = frozenset({"de", "en", "es", "fr", "hi", "it", "pt", "th"})
_GRANITE_3 = frozenset({"ar", "cs", "de", "en", "es", "fr", "it", "ja", "ko", "nl", "pt", "zh"})
_ENGLISH = frozenset({"en"})
_BY_NAME: tuple[tuple[tuple[str, ...], frozenset[str]], ...] = (
    (("phi-4-mini", "phi4-mini"), _PHI_4_MINI),
    (("llama-3.1", "llama-3.2", "llama3.1", "llama3.2"), _LLAMA_3),
    (("granite-3",), _GRANITE_3),
    (("smollm2", "smollm-", "tinyllama"), _ENGLISH),
)


def speaks(model: Model, language: str) -> bool | None:
    """Whether ``model`` knows a language (ISO 639-1); None where nobody says."""
    known = frozenset(model.languages) or _claimed(model)
    return language in known if known else None


def _claimed(model: Model) -> frozenset[str]:
    texts = [text.lower().replace("_", "-") for text in (model.name, model.alias)]
    return next((known for names, known in _BY_NAME if any(n in text for n in names for text in texts)), frozenset())
