"""A client of ``GET /slmreg/events``, in a thread of its own, as an app would have it."""

from __future__ import annotations

import json
import threading
from typing import Any, Self

import httpx

from tests.e2e.conftest import wait_for


class Follower:
    """Collects events from when it is entered until it is left. Comments and what is no event are counted only."""

    def __init__(self, url: str, *, last_event_id: str | None = None) -> None:
        self._url = f"{url}/slmreg/events"
        self._headers = {"Last-Event-ID": last_event_id} if last_event_id is not None else {}
        self.events: list[tuple[str, Any]] = []
        self.last_event_id: str | None = None
        self.comments = 0
        self.error: Exception | None = None
        self._client = httpx.Client(timeout=httpx.Timeout(30, read=None))
        self._response: httpx.Response | None = None
        self._is_open = threading.Event()
        self._is_leaving = False
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        wait_for(lambda: self.last_event_id is not None or self.error, "the stream to begin")
        if self.error is not None:
            raise self.error
        return self

    def __exit__(self, *_: object) -> None:
        self._is_leaving = True
        if self._thread.is_alive() and self._response is not None:
            self._stop_reading(self._response)
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._client.close()

    def wait_for(self, kind: str, **expected: Any) -> Any:
        """The data of the first event of a kind with these values."""

        def find() -> Any:
            for event, data in list(self.events):
                if event == kind and expected.items() <= data.items():
                    return data or True
            return None

        return wait_for(find, f"{kind} {expected} in {self.events}")

    def kinds(self, model_id: str) -> list[str]:
        return [kind for kind, data in self.events if data.get("id") == model_id]

    def end(self) -> None:
        """Wait until the server has ended the stream."""
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _read(self) -> None:
        try:
            with self._client.stream("GET", self._url, headers=self._headers) as response:
                self._response = response
                response.raise_for_status()
                self._take(response)
        except Exception as error:
            if not self._is_leaving:
                self.error = error

    def _take(self, response: httpx.Response) -> None:
        fields: dict[str, str] = {}
        for line in response.iter_lines():
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            else:
                if "data" in fields:
                    self.events.append((fields.get("event", "message"), json.loads(fields["data"])))
                self.last_event_id = fields.get("id", self.last_event_id)
                fields = {}

    @staticmethod
    def _stop_reading(response: httpx.Response) -> None:
        """As an app that goes away: the connection closes under whoever waits for it."""
        stream = response.extensions["network_stream"]
        stream.get_extra_info("socket").shutdown(2)
