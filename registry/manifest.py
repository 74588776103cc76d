"""``models.json``: a team's list of models, as the text of a file and as a tuple of ``Hint``.

    [{"name": "phi-4-mini", "task": "chat", "min_ram_gb": 8, "notes": "..."}, ...]

Pure: reading and writing the file is the caller's. Invariant: ``parse(serialise(hints)) == hints`` for all hints that
``parse`` can give; keys that slmreg does not know, and the order of the entries, are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from registry.errors import InvalidRequest
from registry.model import Hint

MAX_BYTES = 16 * 1024**2
MAX_ENTRIES = 20_000
# The extra key of slmreg's own facts in an exported file.
FACTS_KEY = "slmreg"

# Between them is every machine that can run a model, and no float loses its last digit.
_MAX_RAM_GB = 1e6
_MAX_NAME_CHARACTERS = 500
_MAX_NOTES_CHARACTERS = 100_000
# Far below the interpreter's own limit, so that whoever stores the values needs no limit of their own.
_MAX_DEPTH = 50
_KNOWN_KEYS = ("name", "task", "min_ram_gb", "notes")


def parse(text: str) -> tuple[Hint, ...]:
    """The entries of a ``models.json``: a list, or a list under the key ``models`` of an object.

    A byte order mark is allowed. Raises InvalidRequest, which says which entry and key is wrong and what belongs there.
    """
    entries = _load(text.removeprefix("\ufeff"))
    if isinstance(entries, dict) and "models" in entries:
        entries = entries["models"]
    if not isinstance(entries, list):
        raise InvalidRequest(
            "models.json must hold a list of entries such as "
            '[{"name": "phi-4-mini", "task": "chat", "min_ram_gb": 8, "notes": ""}].'
        )
    if len(entries) > MAX_ENTRIES:
        raise InvalidRequest(f"models.json has {len(entries)} entries; at most {MAX_ENTRIES} are taken.")
    return tuple(_hint(entry, position) for position, entry in enumerate(entries, start=1))


def serialise(hints: Iterable[Hint]) -> str:
    """The text of a ``models.json``, which ends with a line break. What is not known is left out."""
    return json.dumps([_entry(hint) for hint in hints], ensure_ascii=False, indent=2) + "\n"


def merge(local: Sequence[Hint], incoming: Sequence[Hint]) -> tuple[Hint, ...]:
    """``local`` with what ``incoming`` says of the same name and task (case apart) put in, and its new entries behind.

    Nothing local is lost: what an incoming entry does not say stays, and so do slmreg's own facts that are there.
    """
    merged = list(local)
    places: dict[tuple[str, str], list[int]] = {}
    for place, hint in enumerate(local):
        places.setdefault(_key(hint), []).append(place)
    for hint in incoming:
        # The same name and task may stand there several times: each is its own entry, in the order of the file.
        same = places.get(_key(hint))
        if same:
            place = same.pop(0)
            merged[place] = _merged(merged[place], hint)
        else:
            merged.append(hint)
    return tuple(merged)


def _load(text: str) -> Any:
    try:
        if len(text.encode()) > MAX_BYTES:
            raise InvalidRequest(f"models.json is larger than {MAX_BYTES} bytes, which no list of models needs.")
        value = json.loads(text, parse_constant=_refuse_constant)
        if not _is_within(value, _MAX_DEPTH):
            raise InvalidRequest(f"models.json is nested deeper than {_MAX_DEPTH} levels.")
        # "\ud800" alone is valid JSON, and cannot be written into any UTF-8 file.
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest("models.json has a broken character in it (half of a surrogate pair).") from error
    except RecursionError as error:
        raise InvalidRequest(f"models.json is nested deeper than {_MAX_DEPTH} levels.") from error
    except ValueError as error:
        raise InvalidRequest(f"models.json is not valid JSON: {error}. Correct the file.") from error
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _is_within(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        return levels > 0 and all(_is_within(item, levels - 1) for item in value.values())
    if isinstance(value, list):
        return levels > 0 and all(_is_within(item, levels - 1) for item in value)
    return True


def _hint(entry: Any, position: int) -> Hint:
    if not isinstance(entry, dict):
        raise InvalidRequest(f"Entry {position} of models.json must be an object, and is {_shown(entry)}.")
    name = _text(entry, "name", position, most=_MAX_NAME_CHARACTERS)
    if name is None or not name.strip():
        raise InvalidRequest(f"Entry {position} of models.json has no name. Give the model's name.", param="name")
    return Hint(
        name=name,
        task=_text(entry, "task", position, most=_MAX_NAME_CHARACTERS),
        min_ram_gb=_gigabytes(entry, position),
        notes=_text(entry, "notes", position, most=_MAX_NOTES_CHARACTERS),
        more={key: value for key, value in entry.items() if key not in _KNOWN_KEYS},
    )


def _text(entry: Mapping[str, Any], key: str, position: int, *, most: int) -> str | None:
    value = entry.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > most:
        raise _wrong(entry, key, position, f"text of at most {most} characters")
    return value


def _gigabytes(entry: Mapping[str, Any], position: int) -> float | None:
    value = entry.get("min_ram_gb")
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= _MAX_RAM_GB:
        raise _wrong(entry, "min_ram_gb", position, "a number of gigabytes, such as 8")
    return float(value)


def _wrong(entry: Mapping[str, Any], key: str, position: int, expected: str) -> InvalidRequest:
    name = entry.get("name")
    which = f"{position} ({name})" if isinstance(name, str) and len(name) <= _MAX_NAME_CHARACTERS else str(position)
    return InvalidRequest(
        f"{key} in entry {which} of models.json must be {expected}, and is {_shown(entry[key])}.", param=key
    )


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True)[:60]


def _entry(hint: Hint) -> dict[str, Any]:
    ram = hint.min_ram_gb
    known = {
        "name": hint.name,
        "task": hint.task,
        "min_ram_gb": int(ram) if ram is not None and ram == int(ram) else ram,
        "notes": hint.notes,
    }
    return {key: value for key, value in known.items() if value is not None} | dict(hint.more)


def _key(hint: Hint) -> tuple[str, str]:
    return hint.name.strip().casefold(), (hint.task or "").strip().casefold()


def _merged(local: Hint, incoming: Hint) -> Hint:
    more = {**local.more, **incoming.more}
    if FACTS_KEY in local.more:
        more[FACTS_KEY] = local.more[FACTS_KEY]
    return Hint(
        name=local.name,
        task=local.task if local.task is not None else incoming.task,
        min_ram_gb=local.min_ram_gb if incoming.min_ram_gb is None else incoming.min_ram_gb,
        notes=local.notes if incoming.notes is None else incoming.notes,
        more=more,
    )
