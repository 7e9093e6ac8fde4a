"""Searches the index: ``python search.py "words to find"``."""

from __future__ import annotations

import re
import sys
import textwrap

from pydocs import INDEX
from pydocs.index import Hit, open_index

BOLD, PLAIN = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")


def main(words: str, limit: int = 5) -> None:
    if not words.strip():
        sys.exit('What shall be found? python search.py "words to find"')
    index = open_index(INDEX)
    if not index.select("SELECT 1 FROM pages LIMIT 1"):
        sys.exit("There is no index yet: python demo.py makes it.")
    hits = index.search(words, limit, marks=(BOLD, PLAIN))
    print("\n".join(map(show, hits)) or "Nothing found.")
    index.close()


def show(hit: Hit) -> str:
    lines = [f"{BOLD}{hit.module}{PLAIN}  {textwrap.shorten(hit.title, 70, placeholder=' …')}"]
    lines += wrap(hit.snippet)
    lines += wrap(f"keywords: {hit.keywords}")
    if hit.near_copies:
        lines += wrap(f"nearly the same: {', '.join(hit.near_copies)}")
    return "\n".join(lines) + "\n"


def wrap(text: str) -> list[str]:
    text = re.sub(r"[\s|]+", " ", text)  # the bars are what is left of pydoc's tables
    return textwrap.wrap(text, 92, initial_indent="    ", subsequent_indent="    ")


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]))
