"""A Dask cluster as backend: the crawl's tasks are counted here, and Dask has the workers.

In Scrapy's process, in the crawl's thread: backend, group, worker_handle, assignment, connection.
There, in a thread with a loop of its own: client, cluster.
In a process of its own: local_cluster.
In the cluster's worker processes: plugin, worker_thread, worker_logs.

Nothing is imported here: workers of the cluster need the plugin only.
"""
