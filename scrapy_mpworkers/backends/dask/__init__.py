"""A Dask cluster as backend: the crawl's tasks are counted here, and Dask has the workers.

In Scrapy's process, in the crawl's thread:
    backend       checks the settings, and gives each level its workers
    group         a level's workers: threads in worker processes of the cluster
    worker_handle one of them
    assignment    which worker process fills which place (pure)
    connection    what the groups share: calls to and from the client's thread
There, in a thread with a loop of its own:
    client        asks Dask, and hears it
    cluster       finds the scheduler, or starts a cluster on this machine; what is told of it
In a process of its own:
    local_cluster such a cluster
In the cluster's worker processes:
    plugin        makes and ends worker threads, and takes commands to them
    worker_thread has a crawl's consumers, and runs commands
    command_queue what comes of a command
    worker_logs   takes what such threads log

Nothing is imported here: workers of the cluster need the plugin only.
"""
