"""What a text's hash is, in each process that handles an item."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

from .signs import tell

LEFT = open(__file__)  # noqa: SIM115 - so that the fork server begins anew without this module


def of_this_process() -> int:
    return hash("a text") % 1_000_000


class HashesHere:
    """Stays on the reactor."""

    def process_item(self, item: dict[str, Any]) -> Any:
        return item | {"here": of_this_process()}


class Hashes:
    """In a worker, which the third item kills once."""

    name = "first"

    def open_spider(self) -> None:
        code = "print(hash('a text') % 1_000_000)"
        program = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        ours = {name for name in os.environ if name.startswith("_MPWORKERS")}
        tell("opened", os.environ.get("PYTHONHASHSEED"), int(program.stdout), [*ours])

    def process_item(self, item: dict[str, Any]) -> Any:
        if item["n"] == 3 and self.name == "first":
            self.die_once()
        return item | {self.name: of_this_process()}

    def die_once(self) -> None:
        flag = os.path.join(os.path.dirname(os.environ["CRAWL_GATE"]), "died")
        if not os.path.exists(flag):
            with open(flag, "w"):
                os.kill(os.getpid(), signal.SIGKILL)


class HashesToo(Hashes):
    """At another level, whose workers come from another fork server."""

    name = "second"
