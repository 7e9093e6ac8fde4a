"""A cluster as the crawl sees it: where to find it (at an address, in a scheduler file, or on this
machine), and what happens there."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import zipfile
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from scrapy_mpworkers.pool.interpreter import interpreter
from scrapy_mpworkers.wire.messages import Prelude
from scrapy_mpworkers.wire.search_path import search_path

logger = logging.getLogger(__name__)

#: Seconds for the start of a cluster on this machine, and for its end.
_START_SECONDS, _END_SECONDS = 60.0, 10.0


class ClusterSpec(NamedTuple):
    """Where the cluster is, and what it must have."""

    #: of the scheduler, or the path of its file; ``None``: a cluster on this machine
    address: str | None
    workers: int  #: how many processes that cluster has
    folders: Sequence[str]  #: from which they import, beside this process's own
    uploads: Sequence[Path]  #: packages and modules that are sent to the workers
    nannies: bool  #: whether workers may have to be killed: one without a nanny is no use then
    prelude: Prelude  #: runs in each worker process before the pipelines


class ConnectionEvents(Protocol):
    """Hears what happens on a cluster, in the crawl's thread."""

    def connected(self, workers: Collection[str]) -> None:
        """The client is connected, and there are *workers*, by their addresses."""

    def worker_came(self, address: str) -> None:
        """A worker has joined the cluster."""

    def worker_left(self, address: str, expected: bool) -> None:
        """A worker process is gone, or on its way."""

    def lost(self, why: str) -> None:
        """The scheduler is gone, or there was none: there will be no connection any more."""

    def closed(self) -> None:
        """The connection is closed, and nothing else follows."""


class NoCluster(Exception):
    """Raised if there is no cluster; the text says why."""


def import_dask() -> None:
    """Import Dask, which takes a second, and change the settings that disturb a crawl."""
    import dask.config
    import distributed  # noqa: F401

    # Dask warns of large items. And its loggers have levels, but its handlers have none: since
    # workers send all that any handler wants, they would send us every DEBUG record.
    dask.config.update_defaults(
        {"distributed": {"admin": {"large-graph-warning-threshold": "1TiB"}}}
    )
    of_dask = logging.getLogger("distributed")
    for handler in of_dask.handlers:
        if not handler.level:
            handler.setLevel(of_dask.getEffectiveLevel())


@asynccontextmanager
async def address_of(spec: ClusterSpec) -> AsyncIterator[dict[str, Any]]:
    """Give the arguments with which a ``Client`` finds the cluster."""
    if spec.address is None:
        async with _on_this_machine(spec.workers, spec.folders) as made:
            yield made
    elif os.path.isfile(spec.address):
        yield {"scheduler_file": spec.address}
    else:
        yield {"address": spec.address}


def cluster_python() -> str:
    """Return the interpreter that runs a cluster on this machine.

    Raises:
        SettingError: there is none.
    """
    return interpreter("MPWORKERS_DASK_ADDRESS is None", "it to the address of a cluster")


@asynccontextmanager
async def _on_this_machine(workers: int, folders: Sequence[str]) -> AsyncIterator[dict[str, Any]]:
    from distributed.security import Security

    paths = [*folders, *map(os.path.abspath, search_path())]
    process = await asyncio.create_subprocess_exec(
        *(cluster_python(), "-m", "scrapy_mpworkers.backends.dask.local_cluster", str(workers)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,  # Ctrl-C is for Scrapy, which decides when to stop
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), _START_SECONDS)
        if not line:
            raise NoCluster("Dask could not start a cluster on this machine; its errors are above")
        told = json.loads(line)
        address = told["address"]
        logger.info("A Dask cluster of %d workers: %s, %s", workers, address, told["dashboard"])
        # None but this process and those of the cluster have the key.
        security = Security(require_encryption=True, **told["security"])
        yield {"address": address, "security": security}
    finally:
        process.stdin.close()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), _END_SECONDS)
        if process.returncode is None:
            process.kill()
            await process.wait()


async def upload(client: Any, paths: Sequence[Path]) -> None:
    """Send folders of packages and files to all workers, also those that come later.

    They are imported from there, before what is installed.
    """
    from scrapy_mpworkers.backends.dask.plugin import Upload

    for path in paths:
        await client.register_plugin(Upload(path.stem, _zipped(path)))


def _zipped(path: Path) -> bytes:
    """A zip of a module, or of a package with all its files but caches.

    Equal files make equal bytes, so that nothing is uploaded twice.
    """
    buffer = io.BytesIO()
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                name = zipfile.ZipInfo(file.relative_to(path.parent).as_posix())
                archive.writestr(name, file.read_bytes())
    return buffer.getvalue()


def in_words(error: BaseException) -> str:
    """Return an error's type and text."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
