"""The driver's side of the wire: one Flight server that the workers of a search call."""

from __future__ import annotations

import threading
from typing import Any

from cerebro_nas.backend._table import WorkerTable
from cerebro_nas.errors import ProtocolError
from cerebro_nas.worker.link import POLL_SECONDS
from cerebro_nas.worker.link import WELCOME_SECONDS
from cerebro_nas.worker.link import Route
from cerebro_nas.worker.link import SealedServer
from cerebro_nas.worker.link import Secret
from cerebro_nas.worker.link import Tls
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


class ControlServer(SealedServer):
    """Serves `register`, `poll`, `report`, `heartbeat` and `died`. Flight's own threads run it from construction on.

    Args:
        bind: address to listen on.
        secret: of the search.
        table: what the calls act on.
        tls: the certificate that both sides show; None for plain TCP.
    """

    def __init__(self, bind: str, secret: Secret, table: WorkerTable, tls: Tls | None = None) -> None:
        self._table = table
        self._search = ""
        self._announced = threading.Event()
        super().__init__(bind, secret, Route.CONTROL, REPORT_LIMIT, tls)

    def announce(self, search: str) -> None:
        """Tell what the search is (`SearchSpec.to_json()`) to the workers that have registered, and that will."""
        self._search = search
        self._announced.set()

    def dismiss(self) -> None:
        """Have workers that wait for a search ask again, and so learn that there will be none."""
        self._announced.set()

    def answer(self, name: str, body: bytes) -> bytes:
        return encode(self._answer(name, body))

    def _answer(self, name: str, data: bytes) -> Welcome | Verdict | Empty | Any:
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
