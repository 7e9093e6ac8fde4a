"""The page without data, and what a browser may do for it."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files


@cache
def html() -> str:
    """Return the page, which has no data of any crawl in it."""
    return files(__package__).joinpath("page.html").read_text("utf-8")


def policy(html: str) -> str:
    """Return a Content-Security-Policy: the page's own script runs, and nothing is loaded."""
    allowed = "; ".join(f"{tag}-src {_hashes(html, tag)}" for tag in ("script", "style"))
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _hashes(html: str, tag: str) -> str:
    """Name each inline element by the hash that a browser compares."""
    found = re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", html, re.DOTALL)
    return " ".join(
        f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in found
    )
