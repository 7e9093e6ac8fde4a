"""Each line that workers should not run again says so, with the words of the warning."""

import logging
import logging.handlers
import multiprocessing
import os
import shutil as sh
import socket
import subprocess
import threading
from datetime import datetime
from http.server import ThreadingHTTPServer
from logging import FileHandler, getLogger
from multiprocessing import Process
from pathlib import Path
from subprocess import Popen

import requests
from apscheduler.schedulers.background import BackgroundScheduler
from prometheus_client import start_http_server

from .base import *  # noqa: F403

BASE = Path(__file__).parent
BOT_NAME = "guilty"

logging.basicConfig(filename="crawl.log", filemode="w", force=True)  # again: a log file
getLogger("shop").addHandler(FileHandler("shop.log", mode="w"))  # again: a log file
getLogger("api").addHandler(logging.FileHandler("api.log", "w"))  # again: a log file

sh.rmtree(BASE / "images")  # again: deletes
os.remove("last.jl")  # again: deletes
(BASE / "state.json").unlink(missing_ok=True)  # again: deletes
for old in BASE.glob("*.tmp"):
    os.unlink(old)  # again: deletes
os.replace("items.jl", "items.old.jl")  # again: moves
sh.move("a", "b")  # again: moves

STARTED = open("started.txt", "w")  # again: for writing
with open(BASE / "runs.txt", "a") as runs:  # again: for writing
    runs.write(str(datetime.now()))
(BASE / "pid").write_text(str(os.getpid()))  # again: writes
with (BASE / "status").open("w") as status:  # again: for writing
    status.write("running")
if not os.environ.get("CI"):
    sh.copytree("templates", "site")  # again: writes

os.makedirs("output")  # again: makes a folder
Path("feeds").mkdir()  # again: makes a folder

start_http_server(9000)  # again: binds
listener = socket.socket()
listener.bind(("127.0.0.1", 9001))  # again: binds
server = ThreadingHTTPServer(("", 9002), None)  # again: binds

threading.Thread(target=server.serve_forever, daemon=True).start()  # again: a thread
beat = threading.Timer(5, print)
beat.start()  # again: a thread
scheduler = BackgroundScheduler()
scheduler.start()  # again: a thread

PROXY = Popen(["mitmdump", "-p", "8081"])  # again: a process
subprocess.run(["./prepare.sh"], check=True)  # again: a process
os.system("redis-server --daemonize yes")  # again: a process
helper = Process(target=print)
helper.start()  # again: a process
pool = multiprocessing.Pool(2)  # again: a process

requests.post("https://hooks.example/crawl", json={"text": "begins"}, timeout=5)  # again: sends


def clear(folder):
    if folder.exists():
        sh.rmtree(folder)  # again: deletes


def begin():
    clear(BASE / "cache")


begin()

try:
    os.rmdir("locks")  # again: deletes
except OSError:
    pass


class Paths:
    log = open("paths.log", "w")  # again: for writing


if os.environ.get("MPWORKERS_IN_WORKER"):
    os.remove("of-a-worker")  # again: deletes
else:
    os.remove("of-the-crawl")

os.environ.get("MPWORKERS_IN_WORKER") and os.remove("of-a-worker")  # again: deletes
"MPWORKERS_IN_WORKER" in os.environ or os.remove("of-the-crawl")
LOG = open("w.log", "w") if "MPWORKERS_IN_WORKER" in os.environ else None  # again: for writing
if os.environ.get("IN_WORKER") != "1":
    os.remove("by-another-variable")  # again: deletes
