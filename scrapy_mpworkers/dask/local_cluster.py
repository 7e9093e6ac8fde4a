"""A cluster of this machine, in a process of its own: ``python -m …dask.local_cluster WORKERS``.

Not in Scrapy's process: Dask starts workers by ``spawn``, which would run the user's ``__main__``
again in each of them, and its scheduler would share the reactor's interpreter. It prints its
address, and ends when its standard input does: with Scrapy, however that ends.
"""

from __future__ import annotations

import asyncio
import sys

import dask.config
from distributed import LocalCluster

#: Dask looks at what its workers are doing a hundred times a second, and at its own loop fifty.
#: Where all share the same cores that is for those who ask for it (Dask's own configuration).
_QUIET = {
    "distributed": {
        "worker": {"profile": {"enabled": False}},
        "admin": {"tick": {"interval": "500ms"}},
    }
}


async def main(workers: int) -> None:
    """Run the cluster until nobody holds the other end of the input any more."""
    dask.config.update_defaults(_QUIET)
    async with LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        asynchronous=True,
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        print(cluster.scheduler_address, cluster.dashboard_link, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
