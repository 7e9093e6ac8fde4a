"""Renders modules with pydoc: ``python -m pydocs.render FOLDER MODULE...``.

A process of its own, because pydoc imports what it documents, and a module may print, raise,
exit or crash while it is imported.
"""

from __future__ import annotations

import html
import pydoc
import sys
from pathlib import Path

# The few longer ones (builtins, ast, turtle) take a second each and end most runs alone.
MAX_CHARS = 200_000


def render(module: str) -> str:
    documented, _ = pydoc.resolve(module)
    title = html.escape(first_line(pydoc.getdoc(documented)) or module, quote=False)
    return pydoc.html.page(title, pydoc.html.document(documented, module))


def first_line(doc: str) -> str:
    return doc.strip("# \n").partition("\n")[0]  # of a comment where there is no docstring


def main(folder: Path, modules: list[str]) -> None:
    for module in modules:
        try:
            page = render(module)
        # SystemExit too: one module less, and on to the next.
        except BaseException:
            continue
        if len(page) <= MAX_CHARS:
            # pydoc declares utf-8; docstrings may hold lone surrogates, which it cannot encode.
            (folder / f"{module}.html").write_text(page, "utf-8", errors="replace")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
