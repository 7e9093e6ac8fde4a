"""A Dask cluster as backend. The crawl's books stay in Scrapy's process; Dask has the workers.

In Scrapy's process, in the crawl's thread:
    backend       checks the settings, and gives each level its pool
    pool, lane    a level's lanes: seats in worker processes of the cluster
    places        which worker fills which place (pure)
    limits        when a task takes too long there
    connection    what they share: calls to and from the client's thread
There, in a thread with a loop of its own:
    client        asks Dask, and hears it
    cluster       finds the scheduler, or starts a cluster on this machine
In a process of its own:
    local_cluster such a cluster
In the cluster's worker processes:
    station       makes and ends seats (``worker_thread.py``), and takes orders to them

Nothing is imported here: workers of the cluster need the station only.
"""
