"""Shows the site that is crawled: ``python serve.py [PORT]``, until Ctrl-C."""

import contextlib
import sys
import threading

from pydocs.server import LocalSite

if __name__ == "__main__":
    with LocalSite(int(sys.argv[1]) if len(sys.argv) > 1 else 0) as site:
        print(site.url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
