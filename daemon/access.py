"""Who may use the daemon: API keys, compared in memory. Nothing here reads a request or the database.

Invariant: without keys and without being told to require one everybody who can connect is let in; in every other case
only the holder of a key that exists now is, or of the one that the command line finds in the run file.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from registry.model import ApiKey, KeyScope

# Told from other programs' keys by people, and by scanners that look for lost ones.
KEY_PREFIX = "sk-slmreg-"
_KEY_BYTES = 32
# Longer than any key: a client does not choose how much is hashed.
_MAX_KEY_CHARACTERS = 512


@dataclass(frozen=True, slots=True)
class Caller:
    """``key`` is the name of the key that was shown, None where none is needed."""

    key: str | None
    scope: KeyScope | None


ANYBODY = Caller(None, KeyScope.ADMIN)
_COMMAND_LINE = "the command line"


def new_key() -> str:
    """256 random bits, so that a plain SHA-256 of it tells nobody anything."""
    return KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class Access:
    """Any thread. ``refresh`` takes over what ``read_keys``, the registry, has now."""

    def __init__(
        self,
        read_keys: Callable[[], Sequence[ApiKey]],
        *,
        requires_key: Callable[[], bool] = lambda: False,
        command_line_key: str | None = None,
    ) -> None:
        self._read_keys = read_keys
        self._requires_key = requires_key
        own = command_line_key
        self._own = () if own is None else (ApiKey(_COMMAND_LINE, KeyScope.ADMIN, digest_of(own), 0.0),)
        self._keys: tuple[ApiKey, ...] = ()
        self.refresh()

    def refresh(self) -> None:
        self._keys = tuple(self._read_keys())

    @property
    def needs_key(self) -> bool:
        return self._requires_key() or bool(self._keys)

    def caller(self, shown: str | None) -> Caller | None:
        """Who shows this key; None if nobody may. Takes the same time whichever key it is, and if it is none."""
        if not self.needs_key:
            return ANYBODY
        if shown is None or len(shown) > _MAX_KEY_CHARACTERS:
            return None
        digest = digest_of(shown)
        found: Caller | None = None
        for key in (*self._own, *self._keys):
            if hmac.compare_digest(digest, key.sha256):
                found = Caller(key.name, key.scope)
        return found
