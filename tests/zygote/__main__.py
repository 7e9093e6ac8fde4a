"""THE ZYGOTE, and what its forks do until they are crawls.

    test ── request, fds ──▶ zygote ── fork ──▶ keeper ── fork ──▶ the crawl
      ◀───────── its pid, by itself ──────────────────────────────────┘
      ◀───────── how it ended ──────────────────── keeper

The keeper waits for the crawl, whose parent it is; so the zygote needs to wait for nobody. It
begins with a fork of its own, and is the child of nobody.
"""

from __future__ import annotations

import builtins
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import types
from pathlib import Path
from typing import Any

from . import TAG

#: What a crawl imports, of these packages all. No reactor is among it, which an import installs.
PACKAGES = ("commands", "downloadermiddlewares", "spidermiddlewares")
MODULES = (
    *("cmdline", "core.scheduler", "core.downloader.handlers.http11", "exporters", "logformatter"),
    *("squeues", "pqueues", "dupefilters", "statscollectors", "extensions.closespider"),
    *("extensions.corestats", "extensions.feedexport", "extensions.logstats"),
    *("extensions.memdebug", "extensions.memusage", "extensions.spiderstate"),
    *("extensions.telnet", "extensions.throttle"),
)
#: What the add-on imports of others.
OTHERS = (
    *("cloudpickle", "psutil", "sqlite3", "multiprocessing.connection", "multiprocessing.heap"),
    *("multiprocessing.popen_fork", "multiprocessing.popen_forkserver", "multiprocessing.queues"),
    *("multiprocessing.popen_spawn_posix", "multiprocessing.sharedctypes"),
)


def preload() -> None:
    for name in OTHERS:
        importlib.import_module(name)
    for name in MODULES:
        importlib.import_module(f"scrapy.{name}")
    for name in PACKAGES:
        package = importlib.import_module(f"scrapy.{name}")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    assert "twisted.internet.reactor" not in sys.modules
    gc.freeze()  # or each fork would copy all of it when it ends, as the collector looks at it


def serve(requests: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork a keeper for each request; return in keepers only, with what was asked for and the
    descriptors for it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers vanish by themselves
    while True:
        message, fds, _, _ = socket.recv_fds(requests, 1 << 20, 3)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return json.loads(message), fds
        for fd in fds:
            os.close(fd)


def keep(out: int, err: int, news: int) -> None:
    """Fork the crawl, and return in it. The keeper tells how it ended."""
    with socket.socket(fileno=news) as told:
        if crawl := os.fork():
            os.close(out)
            os.close(err)
            _, status = os.waitpid(crawl, 0)
            told.send(str(os.waitstatus_to_exitcode(status)).encode())
            os._exit(0)
        os.setsid()
        told.send(str(os.getpid()).encode())
    for fd, standard in (out, 1), (err, 2):
        os.dup2(fd, standard)
        os.close(fd)


def become(request: dict[str, Any]) -> types.CodeType:
    """Take on directory, environment and arguments; return the code of the script to run."""
    os.chdir(request["cwd"])
    tag_environment(request["env"][TAG])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = request["command"]
    script = Path(sys.argv[0])
    sys.path[0] = str(script.parent)
    main = types.ModuleType("__main__")
    main.__file__ = str(script)
    main.__builtins__ = builtins
    sys.modules["__main__"] = main
    return compile(script.read_bytes(), script, "exec", dont_inherit=True)


def tag_environment(tag: str) -> None:
    """Write the tag to where the kernel shows this process's environment, and its forks'.

    That is the memory that was given to the zygote; ``os.environ`` does not reach it.
    """
    name = f"{TAG}=".encode()
    entries = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")
    entry = next(entry for entry in entries if ctypes.string_at(entry).startswith(name))
    ctypes.memmove(entry + len(name), tag.encode(), len(tag))


if __name__ == "__main__":
    if os.fork():
        os._exit(0)
    preload()
    request, fds = serve(socket.socket(fileno=int(sys.argv[1])))
    keep(*fds)
    exec(become(request), sys.modules["__main__"].__dict__)
