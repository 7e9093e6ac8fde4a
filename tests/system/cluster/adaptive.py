"""A cluster that scales itself between one worker and three, until its input ends."""

import sys

from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        cluster.adapt(minimum=1, maximum=3, interval="200ms", target_duration="100ms", wait_count=2)
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
