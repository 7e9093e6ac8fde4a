"""PARENT SIDE, without Scrapy or Twisted. Results come back through one injected callable.

pool        submit, dispatch, settle, drain, stop; lives in the event loop's thread
supervisor  keeps every lane manned; lives in the event loop's thread
starter     a thread: starts lanes and discards them, since both can block
watcher     a thread: waits for reports, exits and deadlines
lane        one worker with its queue down, its pipe up and its dial
processes   how a worker process comes to be: forkserver, spawn, fork
ledger, batching, restarts, figures
            pure: no clock, no process; event in, decision out
"""
