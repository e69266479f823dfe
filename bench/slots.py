"""Slots: what `/slots` says of a server under test, and the actions on one slot."""

from __future__ import annotations

import http.client
import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from bench.address import Address
from bench.server import get

POLL_S = 0.002  # between two questions of a watch
JOIN_S = 30.0  # a question in flight waits for a step of the server


def n_busy(address: Address, timeout_s: float = 30.0) -> int | None:
    """Slots that are at work; None when the server does not tell."""
    status, body = get(address, "/slots", timeout_s)
    return count_busy(body) if status == 200 else None


def count_busy(body: bytes) -> int | None:
    try:
        return sum(bool(slot.get("is_processing")) for slot in json.loads(body))
    except (ValueError, AttributeError, TypeError):
        return None


def act(address: Address, id_slot: int, action: str, filename: str | None = None) -> tuple[int, str]:
    """Status and body of `POST /slots/ID?action=ACTION`; status 0 when there is no answer."""
    connection = http.client.HTTPConnection(*address.pair, timeout=60.0)
    try:
        body = json.dumps({"filename": filename} if filename else {})
        connection.request("POST", f"/slots/{id_slot}?action={action}", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class Sight:
    """One answer of `/slots`. Times are `time.perf_counter()` seconds."""

    asked_at: float
    seen_at: float
    n_busy: int


class SlotWatch:
    """Asks `/slots` again and again on a thread of its own while the `with` block runs."""

    def __init__(self, address: Address) -> None:
        self.sights: list[Sight] = []
        self._address = address
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="slot watch", daemon=True)

    def __enter__(self) -> SlotWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(JOIN_S)

    def at_most(self, n_busy: int, since: float) -> Sight | None:
        """The first answer, to a question asked after `since`, with no more busy slots than that."""
        return next((sight for sight in self.sights if sight.asked_at >= since and sight.n_busy <= n_busy), None)

    def _watch(self) -> None:
        connection = http.client.HTTPConnection(*self._address.pair, timeout=JOIN_S)
        while not self._stop.wait(POLL_S):
            asked_at = time.perf_counter()
            with suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/slots")
                busy = count_busy(connection.getresponse().read())
                if busy is not None:
                    self.sights.append(Sight(asked_at, time.perf_counter(), busy))
                continue
            connection.close()  # the next question opens it again
        connection.close()
