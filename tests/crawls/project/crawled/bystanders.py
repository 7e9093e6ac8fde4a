"""Pipelines that stay on the reactor, beside the offloaded ones, and fail there."""


class FailsToOpen:
    def open_spider(self) -> None:
        raise RuntimeError("a bystander failed to open")


class FailsToClose:
    def close_spider(self) -> None:
        raise RuntimeError("a bystander failed to close")


class FailsToCloseAsync:
    async def close_spider(self) -> None:
        raise RuntimeError("a bystander failed to close")
