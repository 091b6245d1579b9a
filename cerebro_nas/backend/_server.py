"""The driver's side of the wire: one Flight server that the workers of a search call."""

from __future__ import annotations

import threading
from typing import Any

from pyarrow import flight

from cerebro_nas.backend._table import WorkerTable
from cerebro_nas.errors import ProtocolError
from cerebro_nas.worker.link import POLL_SECONDS
from cerebro_nas.worker.link import WELCOME_SECONDS
from cerebro_nas.worker.link import Secret
from cerebro_nas.worker.link import SecretRequired
from cerebro_nas.worker.link import SupersededError
from cerebro_nas.worker.link import location_of
from cerebro_nas.worker.messages import REPORT_LIMIT
from cerebro_nas.worker.messages import Died
from cerebro_nas.worker.messages import Empty
from cerebro_nas.worker.messages import Heartbeat
from cerebro_nas.worker.messages import Poll
from cerebro_nas.worker.messages import Register
from cerebro_nas.worker.messages import Report
from cerebro_nas.worker.messages import Verdict
from cerebro_nas.worker.messages import Welcome
from cerebro_nas.worker.messages import decode
from cerebro_nas.worker.messages import encode


class ControlServer(flight.FlightServerBase):  # type: ignore[misc]  # Arrow ships no types
    """Serves `register`, `poll`, `report`, `heartbeat` and `died`. Flight's own threads run it from construction on.

    Args:
        bind: address to listen on.
        secret: what callers must present.
        table: what the calls act on.
    """

    def __init__(self, bind: str, secret: Secret, table: WorkerTable) -> None:
        # Flight's serve() is never called: all it adds is signal handlers, and those belong to the user's program.
        super().__init__(location_of(bind, 0), middleware={"secret": SecretRequired(secret)})
        self._table = table
        self._search = ""
        self._announced = threading.Event()

    def announce(self, search: str) -> None:
        """Tell what the search is (`SearchSpec.to_json()`) to the workers that have registered, and that will."""
        self._search = search
        self._announced.set()

    def dismiss(self) -> None:
        """Have workers that wait for a search ask again, and so learn that there will be none."""
        self._announced.set()

    def do_action(self, context: Any, action: Any) -> list[bytes]:
        """Carry out one call; Flight calls this on a thread of its own."""
        try:
            return [encode(self._answer(action.type, action.body))]
        except ProtocolError as error:
            raise flight.FlightServerError(str(error)) from None
        except SupersededError as error:
            raise flight.FlightUnauthorizedError(str(error)) from None

    def _answer(self, name: str, body: Any) -> Welcome | Verdict | Empty | Any:
        if len(body) > REPORT_LIMIT:
            raise ProtocolError(f"A message may have {REPORT_LIMIT} bytes. Received: {len(body)} bytes.")
        data = body.to_pybytes()
        if name == "poll":
            return self._table.poll(decode(Poll, data, REPORT_LIMIT), POLL_SECONDS)
        if name == "report":
            self._table.report(decode(Report, data, REPORT_LIMIT))
        elif name == "heartbeat":
            self._table.heartbeat(decode(Heartbeat, data, REPORT_LIMIT))
        elif name == "register":
            self._table.register(decode(Register, data, REPORT_LIMIT))
            # Workers may be there before the data is prepared. The wait is short, so that each shows signs of life.
            self._announced.wait(WELCOME_SECONDS)
            return Welcome(self._search)
        elif name == "died":
            message = decode(Died, data, REPORT_LIMIT)
            return Verdict(self._table.died(message.worker, message.attempt, message.reason))
        else:
            raise ProtocolError(f"No such call. Received: {name[:40]!r}.")
        return Empty()
