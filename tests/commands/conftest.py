from __future__ import annotations

import sys

if sys.platform == "win32":  # no signals, groups or file locks as these tests use them
    collect_ignore_glob = ["*"]
else:
    from system.conftest import launch  # noqa: F401 - fixture
