"""A cluster of this machine, in a process of its own: ``python -m …dask.local_cluster WORKERS``.

It prints where it is and how to get in, and ends when its standard input does: with Scrapy, however
that ends. (docs/design.md says why it is not in Scrapy's process.)

Every user of the machine can reach the ports of a scheduler on loopback, and whoever talks to one
can run code. So all talk TLS with a certificate that this process makes for itself, and nobody is
let in without it. Dask's scratch space has the same name for all users, and whoever made it first
can exchange what is in it (code that was uploaded, for one): so it gets a private folder.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile

import dask.config
from distributed import LocalCluster
from distributed.security import Security

#: Dask looks at what its workers are doing a hundred times a second, and at its own loop fifty.
#: Where all share the same cores that is for those who ask for it (Dask's own configuration).
_QUIET = {
    "distributed": {
        "worker": {"profile": {"enabled": False}},
        "admin": {"tick": {"interval": "500ms"}},
    }
}

_OF_CLIENTS = ("tls_ca_file", "tls_client_cert", "tls_client_key")


async def main(workers: int) -> None:
    """Run the cluster until nobody holds the other end of the input any more."""
    dask.config.update_defaults(_QUIET)
    security = Security.temporary()
    beside = dask.config.get("temporary-directory", None)
    with tempfile.TemporaryDirectory(
        prefix="mpworkers-dask-", dir=beside, ignore_cleanup_errors=True
    ) as private:
        dask.config.set({"temporary-directory": private})
        await _run(workers, security)


async def _run(workers: int, security: Security) -> None:
    async with LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        asynchronous=True,
        security=security,
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        told = {
            "address": cluster.scheduler_address,
            "dashboard": cluster.dashboard_link,
            "security": {name: getattr(security, name) for name in _OF_CLIENTS},
        }
        print(json.dumps(told), flush=True)  # into a pipe that only Scrapy's process reads
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
