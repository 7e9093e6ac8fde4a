"""Who was killed for want of memory."""

from __future__ import annotations

from pathlib import Path

from scrapy_mpworkers.pool.exits import OutOfMemoryKills


class TestOutOfMemoryKills:
    def test_the_kernels_count_is_compared_with_the_last_look(self, tmp_path: Path) -> None:
        vmstat = tmp_path / "vmstat"
        vmstat.write_text("nr_free_pages 1\noom_kill 3\n")
        kills = OutOfMemoryKills(vmstat)

        before = kills.any_since_last_look()
        vmstat.write_text("nr_free_pages 1\noom_kill 4\n")

        assert [before, kills.any_since_last_look(), kills.any_since_last_look()] == [
            False,
            True,
            False,
        ]

    def test_a_system_that_does_not_count_them_had_none(self, tmp_path: Path) -> None:
        assert not OutOfMemoryKills(tmp_path / "missing").any_since_last_look()
