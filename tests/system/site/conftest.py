"""The site of docs/: `.ci/site` has built it, or the extra ``docs`` is there to build it here."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..page.browser import Window, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]

#: The site that `.ci/site` has built: with it nothing is skipped, so that CI always looks at it.
BUILT = os.environ.get("BUILT_SITE")


@pytest.fixture(scope="session")
def site_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if BUILT:
        return Path(BUILT).absolute()
    if not find_spec("mkdocs"):
        pytest.skip("no site: the extra `docs` is missing; `bash .ci/site` builds and opens it")
    folder = tmp_path_factory.mktemp("site")
    # Not --quiet: what it hides is hidden from --strict too.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1", "NO_COLOR": "1"}
    built = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, env=quiet)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")  # or other tests would find its processes
def window() -> Iterator[Window]:
    if reason := why_not():
        if BUILT:
            pytest.fail(reason)
        pytest.skip(reason)
    window = Window()
    yield window
    window.close()
