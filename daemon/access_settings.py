"""The settings that say who gets in, and how much one may ask: a part of ``daemon.settings.Settings``."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

MAX_NAMES = 100
# The largest path of a Unix socket that every system takes (macOS: 104 bytes with the zero at its end).
MAX_SOCKET_PATH_BYTES = 103


def is_loopback(host: str) -> bool:
    """A loopback address or ``localhost``; another name, even if it resolves to one, may be an attacker's."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _as_host(name: str) -> str:
    name = name.strip().lower()
    if not name or not all(character.isalnum() or character in "-._:" for character in name):
        raise ValueError("it is a name or an address, without a port, as in my-machine.local")
    return name


def _as_origin(origin: str) -> str:
    """As browsers write it. Raises ValueError for anything that is not one, "null" and "*" among it."""
    origin = origin.strip().lower()
    parts = urlsplit(origin)
    if not parts.scheme or not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}":
        raise ValueError("an origin is a scheme and a host, as in https://app.example:8443; * and null are refused")
    return origin


HostName = Annotated[str, AfterValidator(_as_host)]
Origin = Annotated[str, AfterValidator(_as_origin)]


class AccessSettings(BaseModel):
    """Limits are per request where nothing else is said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="address to listen on; one that is not loopback only with an API key")
    socket: Path | None = Field(
        None, description="Unix socket to listen on as well, for its owner alone; commands then use it"
    )
    require_key: bool = Field(False, description="refuse requests without an API key also while there are no keys")
    allowed_hosts: tuple[HostName, ...] = Field(
        (), max_length=MAX_NAMES, description="names, beside localhost, under which clients may ask for this machine"
    )
    allowed_origins: tuple[Origin, ...] = Field(
        (), max_length=MAX_NAMES, description="origins, beside this machine's own, whose pages may use the daemon"
    )
    log_prompts: bool = Field(False, description="write the messages of chats into the log; otherwise no word of them")
    ignore_unsupported: bool = Field(
        False,
        description="leave out hints that cannot be honoured, named in `x-slmreg-ignored`, instead of refusing them",
    )

    max_body_bytes: int = Field(8 * 1024 * 1024, ge=1024, description="largest request body; beyond it: 413")
    max_json_depth: int = Field(128, ge=8, le=500, description="how deeply a body's JSON may be nested; beyond it: 400")
    max_json_items: int = Field(100_000, ge=100, description="most objects and arrays in a body's JSON; beyond it: 400")
    max_messages: int = Field(2048, ge=1, description="most messages in one request")
    max_choices: int = Field(16, ge=1, le=16, description="most answers to one request (`n`)")
    max_answer_tokens: int = Field(
        131_072, ge=1, description="longest answer: more is a 400, and one that leaves it open ends there"
    )
    max_client_requests: int = Field(
        256, ge=1, description="requests of one API key, or without keys one address, at the same time; beyond it: 429"
    )
    max_connections: int = Field(1024, ge=8, description="connections at the same time; beyond it: 503")
    max_headers: int = Field(100, ge=16, description="most headers of a request; beyond it: 431")
    max_header_bytes: int = Field(
        32 * 1024, ge=1024, description="length of a request's first line and headers together; beyond it: 431"
    )
    header_timeout_s: float = Field(10, gt=0, description="time for a request's headers to arrive; then 408")
    body_timeout_s: float = Field(120, gt=0, description="time for a request's body to arrive; then 408")
    idle_timeout_s: float = Field(75, gt=0, description="a connection that asks nothing for so long is closed")

    @property
    def is_public(self) -> bool:
        """Others than this machine can reach it."""
        return not is_loopback(self.host)

    @field_validator("allowed_hosts", "allowed_origins", mode="before")
    @classmethod
    def _names_from_commas(cls, items: object) -> object:
        """The environment has no lists."""
        return tuple(item for item in items.split(",") if item.strip()) if isinstance(items, str) else items

    @field_validator("host")
    @classmethod
    def _address_or_name(cls, host: str) -> str:
        return _as_host(host)

    @field_validator("socket")
    @classmethod
    def _usable_socket(cls, path: Path | None) -> Path | None:
        if path is None:
            return None
        absolute = path.expanduser().absolute()
        if len(str(absolute).encode()) > MAX_SOCKET_PATH_BYTES:
            raise ValueError(
                f"the path of a Unix socket has at most {MAX_SOCKET_PATH_BYTES} bytes; choose a shorter one"
            )
        return absolute
