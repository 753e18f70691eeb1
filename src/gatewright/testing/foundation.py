"""A security foundation in memory, with a manual clock, recorded events and recorded mail."""

from __future__ import annotations

from typing import Any, Self

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from gatewright import ListSink, ManualClock, MemoryNotifier, Policy, SecurityFoundation, Settings

FAST_HASHING = {"argon2_time_cost": 1, "argon2_memory_kib": 8, "argon2_parallelism": 1}
"""The smallest Argon2id parameters that the settings accept: same algorithm, same code path, milliseconds less."""

_FIXED = ("database", "key_database", "redis_url", "notifier")


class MemorySettings(Settings):
    """Settings from arguments alone, so that a test does not depend on the environment it runs in."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


class MemoryFoundation(SecurityFoundation):
    """A ``SecurityFoundation`` that keeps everything in memory. Create one with ``memory_foundation``.

    ``clock`` moves only when advanced, ``events`` has every event since the start, and ``notifier`` every message.
    """

    clock: ManualClock
    notifier: MemoryNotifier

    def __init__(self, settings: Settings, *, policy: Policy | None = None, clock: ManualClock | None = None) -> None:
        super().__init__(settings, policy=policy, notifier=MemoryNotifier(), clock=clock or ManualClock())
        self.events = ListSink()
        self.sink.add(self.events)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        return self


def memory_foundation(
    *, policy: Policy | None = None, clock: ManualClock | None = None, **settings: Any
) -> MemoryFoundation:
    """A foundation for one test, with keys of its own and fast password hashing; nothing is written to disk.

    Use it as ``async with memory_foundation() as foundation``, or pass it on unopened to an application whose lifespan
    opens it. ``GATEWRIGHT_*`` variables are ignored.

    Args:
        policy: the bundled policy by default.
        clock: a clock at the present by default.
        settings: any other field of ``Settings``, such as ``access_token_minutes=1``.

    Raises:
        TypeError: a setting would move state out of memory.
        ConfigurationError: a setting or the policy is invalid.
    """
    for name in _FIXED:
        if name in settings:
            raise TypeError(
                f"memory_foundation() does not take {name}: it keeps everything in memory. "
                "Use SecurityFoundation(Settings(...)) to test with another backend."
            )
    return MemoryFoundation(
        MemorySettings(**{**FAST_HASHING, **settings, "database": ":memory:"}), policy=policy, clock=clock
    )
