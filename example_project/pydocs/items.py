"""The one item of the crawl."""

from dataclasses import dataclass, field


@dataclass
class Page:
    """The documentation of one module; the pipelines fill what the spider leaves empty."""

    module: str
    title: str
    # A log line that shows the item shows it without these.
    html: str = field(repr=False)
    text: str = field(default="", repr=False)
    keywords: list[str] = field(default_factory=list)
    fingerprint: int = 0
    near_copies: list[str] = field(default_factory=list)
