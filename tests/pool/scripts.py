"""Scripts that own a pool, for the tests that must see a parent die or exit.

Without a guard on ``__main__``, as the scripts of many users: a worker that ran its parent's
``__main__`` again would say so in the file of the second argument.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PREAMBLE = """
import os, sys
method, said, runs = sys.argv[1:4]
with open(runs, "a") as file:
    file.write("run\\n")
from {package} import harness, saboteurs, work
from pathlib import Path
bench = harness.Bench(Path(runs).parent, method).start()
"""


def start(script: str, method: str, said: str, folder: Path) -> subprocess.Popen[bytes]:
    """Run *script* behind the preamble, which starts ``bench``; *said* is for its work."""
    file = folder / "script.py"
    package = __name__.rpartition(".")[0]
    file.write_text(PREAMBLE.format(package=package) + script)
    return subprocess.Popen(
        [sys.executable, str(file), method, said, str(folder / "runs")],
        env=_environment(),
        stderr=subprocess.PIPE,
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
