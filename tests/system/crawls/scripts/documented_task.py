"""The Celery application of docs/guides/celery.md, but for its broker. Its worker gets one task."""

import re
from pathlib import Path

from celery.signals import worker_ready

book = Path(__file__).parents[4] / "docs/guides/celery.md"
(code,) = re.findall(r"^```python\n(.*?)^```", book.read_text("utf-8"), re.MULTILINE | re.DOTALL)
exec(code)

app.conf.update(  # noqa: F821 - the documented code has made it
    broker_url="memory://", broker_connection_retry_on_startup=True
)


@worker_ready.connect
def begin(**_):
    crawl.delay("pages", items=3)  # noqa: F821
