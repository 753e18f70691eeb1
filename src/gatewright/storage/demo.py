"""The mark of the demo's stores: passwords of what is in them stand in a file."""

from __future__ import annotations

from typing import Protocol


class DemoStore(Protocol):
    """Whether a store is the demo's. One that anybody else has used never becomes so."""

    async def claim_for_demo(self) -> bool:
        """Mark the store as the demo's if it is empty; whether it is the demo's now.

        Looking and marking are one step: of a demo and a first tenant at the same moment, exactly one is first.
        """
        ...

    async def is_demo(self) -> bool:
        """Whether the demo made this store."""
        ...
