"""Runs a script in surroundings as others may have made them: WHAT SCRIPT ARGUMENTS."""

import errno
import os
import resource
import runpy
import sys
import threading
import time


def few_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))


def no_semaphores():
    mount = 'mount -t tmpfs -o ro none /dev/shm && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", mount, "sh", sys.executable, *sys.argv[2:]]
    os.execvp(command[0], command)


def no_handles():
    def refuse(pid, flags=0):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    os.pidfd_open = refuse


def reaper():
    def reap():
        while True:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                time.sleep(0.005)

    threading.Thread(target=reap, daemon=True).start()


def gevent():
    from gevent import monkey

    monkey.patch_all(thread=False, select=False)


globals()[sys.argv[1]]()
del sys.argv[:2]
runpy.run_path(sys.argv[0], run_name="__main__")
