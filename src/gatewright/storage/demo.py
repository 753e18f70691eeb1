"""The marker of stores that the demo created."""

from __future__ import annotations

from typing import Protocol


class DemoStore(Protocol):
    """Whether the demo created a store. A store that is already in use can never be claimed."""

    async def claim_for_demo(self) -> bool:
        """Mark the store as the demo's if it is empty; whether it is the demo's now.

        Check and mark are atomic: when the demo and a first tenant race for a store, it is marked only if still empty.
        """
        ...

    async def is_demo(self) -> bool:
        """Whether the store is marked."""
        ...
