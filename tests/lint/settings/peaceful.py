"""Settings modules do all of this: it may happen in each worker, or is kept from them."""

import decimal
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from io import StringIO
from os import environ, getenv
from pathlib import Path

import django
import sentry_sdk
from prometheus_client import start_http_server

BASE = Path(__file__).parent
BOT_NAME = "peaceful"
NAMES = json.loads((BASE / "names.json").read_text())
with open(BASE / "words.txt") as file:
    WORDS = file.read().split()
REVISION = subprocess.check_output(["git", "rev-parse", "HEAD"], text=True)
HOST = subprocess.run(["hostname"], capture_output=True, text=True, check=True).stdout
BRANCH = os.popen("git branch --show-current").read()

decimal.setcontext(decimal.Context(prec=5))
sentry_sdk.init(dsn="https://key@sentry.example/1")
os.environ["DJANGO_SETTINGS_MODULE"] = "site.settings"
django.setup()
sys.path.insert(0, str(BASE.parent))
logging.basicConfig(filename="crawl.log", filemode="w", level="INFO")
logging.getLogger("shop").addHandler(logging.FileHandler("shop.log"))
os.makedirs(BASE / "out", exist_ok=True)
Path("feeds").mkdir(parents=True, exist_ok=True)
if not os.path.exists("images"):
    os.makedirs("images")
if not Path("cache").is_dir():
    os.mkdir("cache")
try:
    os.mkdir("locks")
except FileExistsError:
    pass
QUIET = open(os.devnull, "w")
TEXT = StringIO()
print("settings", file=TEXT)
LOCK = threading.Lock()
LATER = threading.Thread(target=print)


def clear():
    shutil.rmtree("out")


def remove(path):
    return path.strip("/")


CLEAR, PLAIN = clear, remove("/a/")
AT_END = lambda: os.remove("x")  # noqa: E731

if not os.environ.get("MPWORKERS_IN_WORKER"):
    shutil.rmtree("out")
    start_http_server(9000)
if "MPWORKERS_IN_WORKER" not in os.environ:
    subprocess.Popen(["mitmdump"])
if os.getenv("MPWORKERS_IN_WORKER") is None and not os.environ.get("CI"):
    os.remove("last.jl")
if getenv("MPWORKERS_IN_WORKER", "0") != "1":
    os.remove("last.jl")
if not bool(environ.get("MPWORKERS_IN_WORKER", "")):
    os.remove("last.jl")
IN_WORKER = "MPWORKERS_IN_WORKER" in os.environ
IS_MAIN = not IN_WORKER
if IS_MAIN:
    os.remove("last.jl")
if IN_WORKER:
    LOG = None
elif BOT_NAME:
    LOG = open("log", "w")
STARTED = None if IN_WORKER else open("started", "w")
IN_WORKER or os.remove("last.jl")
if __name__ == "__main__":
    os.remove("last.jl")


def begin():
    if IN_WORKER:
        return
    shutil.rmtree("out")


begin()
