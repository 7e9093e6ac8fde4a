"""A Celery application. Its worker gets one task, which crawls twice."""

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from celery import Celery
from celery.signals import worker_ready
from hosted import crawl_in_turn

app = Celery(broker="memory://")
app.conf.update(worker_max_tasks_per_child=1, broker_connection_retry_on_startup=True)


@app.task(time_limit=float(os.environ["CRAWL_TASK_LIMIT"]))
def crawl():
    crawl_in_turn()


@worker_ready.connect
def begin(**_):
    crawl.delay()
