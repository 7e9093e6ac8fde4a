"""An item or a request that an earlier run has kept: in the journal, or as a dead letter."""

from __future__ import annotations

from scrapy_mpworkers.wire.frames import StoredFrame


class StoredItem:
    """An item of an earlier run, on its way to the pipelines *hop*; without any: a request, whose
    callback was given up."""

    hop: tuple[str, ...]
    frame: StoredFrame

    def ended(self, error: Exception | None) -> None:
        """Note that it has left the last pipeline, or raised there. A second call does nothing."""

    def cannot_go_on(self, error: Exception) -> None:
        """Note that it never entered a pipeline."""
