"""PARENT SIDE, without Scrapy or Twisted. The event loop is injected.

interface       what a pool is given, what it needs of the loop, and what it tells
workers         what an executor knows of its workers and of the group that has them
executor        submit, settle, give up, stop                       ┐
observed        its part that shows what workers are at             │
dispatcher      gives waiting tasks to workers                      │
worker_group    the workers, for one crawl or for several           │
group_state     what its parts share: crawls, workers, clock        │
supervisor      keeps every slot filled                             │ live in the
postmortem      why a worker has died                               │ event loop's
sharing         which worker opens which crawl's consumers; who     │ thread
                hears a report; how a crawl leaves                  │
recycling       when a worker has served its time                   │
timeouts        kills the worker of an item that takes too long     │
report_listener hears workers: their reports and their ends         │
worker_handle   one worker: its worker_state, and the crawls it     │
                serves                                              │
stacks, dumps   asks workers where their code is                    ┘
starter_thread  starts workers and discards them, since both can block; its jobs come
                by mailbox
worker_process  a started worker: process, channel, scoreboard
channel         the ends of its queue and its report pipe that are ours; none ever waits
start_methods, forkserver
                how a worker process comes to be: forkserver, spawn, fork
exits           ways to learn of a worker's end
killing         signals to a worker and what it has started
shortages       why a start has failed, in words, and whether it may succeed later
unshared        what a process forked from this one must not keep open
awake           how long this process could run
cpus            how many CPUs there are for it
task, task_queue, parked, batching, restarts, metrics, recent
                pure: no clock, no process; event in, decision out
"""
