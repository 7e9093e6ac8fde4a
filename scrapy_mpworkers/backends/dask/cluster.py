"""Where the cluster is: at an address, in a scheduler file, or on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import sys
import zipfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

#: Seconds for the start of a cluster on this machine, and for its end.
_START_SECONDS, _END_SECONDS = 60.0, 10.0


class NoCluster(Exception):
    """Its text says why there is none."""


@asynccontextmanager
async def address_of(
    address: str | None, workers: int, folders: Sequence[str]
) -> AsyncIterator[dict[str, Any]]:
    """What a ``Client`` needs to find the cluster.

    Args:
        address: of a scheduler, or the path of a scheduler file; ``None``: on this machine.
        workers: processes that it has there.
        folders: it imports from, beside this process's own.
    """
    if address is None:
        async with _on_this_machine(workers, folders) as made:
            yield made
    elif os.path.isfile(address):
        yield {"scheduler_file": address}
    else:
        yield {"address": address}


@asynccontextmanager
async def _on_this_machine(workers: int, folders: Sequence[str]) -> AsyncIterator[dict[str, Any]]:
    from distributed.security import Security

    paths = [*folders, *(os.path.abspath(path) for path in sys.path)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scrapy_mpworkers.backends.dask.local_cluster", str(workers)),
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
        yield {
            "address": address,
            "security": Security(require_encryption=True, **told["security"]),
        }
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
