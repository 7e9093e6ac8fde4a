"""A crawl where what Windows does not have is missing: modules, functions and signals of POSIX.

Scrapy and what it imports know both systems, so they are imported before.
"""

from __future__ import annotations

import json
import multiprocessing.reduction  # noqa: F401
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from importlib.abc import MetaPathFinder
from typing import Any

import cloudpickle  # noqa: F401
import psutil  # noqa: F401
import scrapy
import scrapy.core.engine
import twisted.internet.asyncioreactor  # noqa: F401
from scrapy.crawler import CrawlerProcess
from scrapy.settings import default_settings
from scrapy.utils.misc import load_object

MODULES = {"fcntl", "grp", "pwd", "resource", "termios"} | {
    f"multiprocessing.{name}"
    for name in ("forkserver", "popen_fork", "popen_forkserver", "popen_spawn_posix")
}
FUNCTIONS = (
    *("fchmod", "fork", "getpgid", "geteuid", "getuid", "killpg", "memfd_create", "mkfifo"),
    *("pidfd_open", "register_at_fork", "sched_getaffinity", "set_blocking", "setpgid", "setsid"),
    *("O_CLOEXEC", "O_NOFOLLOW", "WNOHANG", "waitstatus_to_exitcode"),
)
SIGNALS = ("SIGHUP", "SIGKILL", "SIGURG", "SIGUSR1", "pthread_sigmask")


class Missing(MetaPathFinder):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


class Mark:
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        return {**item, "pid": os.getpid()}


class CountsSpider(scrapy.Spider):
    name = "counts"

    async def start(self) -> AsyncIterator[dict[str, int]]:
        from scrapy_mpworkers import WorkerExtension

        for n in (1, 2, 3):
            yield {"n": n}
        length = await WorkerExtension.of(self.crawler).run(len, "four")
        print("@called", json.dumps([length]), file=sys.stderr)


def become_windows() -> None:
    for base in ("DOWNLOADER_MIDDLEWARES", "EXTENSIONS", "SPIDER_MIDDLEWARES"):
        for component in getattr(default_settings, f"{base}_BASE"):
            load_object(component)
    for handler in default_settings.DOWNLOAD_HANDLERS_BASE.values():
        load_object(handler)
    for module in MODULES:
        sys.modules.pop(module, None)
    sys.meta_path.insert(0, Missing())
    for where, names in ((os, FUNCTIONS), (signal, SIGNALS)):
        for name in names:
            if hasattr(where, name):
                delattr(where, name)
    ssl.enum_certificates = lambda store: []  # type: ignore[attr-defined]
    sys.platform = "win32"


if __name__ == "__main__":
    become_windows()
    settings = {
        "ADDONS": {"scrapy_mpworkers.Addon": 500},
        "MPWORKERS_PIPELINES": {Mark: 300},
        "TELNETCONSOLE_ENABLED": False,
    }
    process = CrawlerProcess(settings | json.loads(os.environ["CRAWL_SETTINGS"]))
    process.crawl(CountsSpider)
    process.start()
