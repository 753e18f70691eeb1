"""Storage: where state lives. The Store and Cache protocols and their implementations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright._lazy import lazy_names

if TYPE_CHECKING:
    from gatewright.storage.attempts import (
        AttemptPolicy,
        LockoutState,
        OneTimeSecret,
        Rate,
        ThrottleResult,
        reserve,
        settle,
    )
    from gatewright.storage.audit import (
        TIMELINE_LIMIT,
        AuditBinding,
        AuditBody,
        AuditFields,
        AuditQuery,
        StoredAuditEntry,
        StoredCheckpoint,
        StoredIncident,
        StoredProposal,
        decode_body,
        encode_body,
        stored_entry,
    )
    from gatewright.storage.cache import Cache
    from gatewright.storage.cache.invalidation import PUBLISH, RedisInvalidation
    from gatewright.storage.cache.memory import MemoryCache
    from gatewright.storage.cache.redis import RedisCache
    from gatewright.storage.changes import Changes
    from gatewright.storage.credentials import StoredApiKey, StoredDevice, StoredPasskey, StoredTotp
    from gatewright.storage.feedback import StoredFeedback, StoredModelVersion
    from gatewright.storage.keys import (
        KEYS_TOPIC,
        KeyStore,
        Revocation,
        Rewrapping,
        StoredDataKey,
        StoredKeyGeneration,
        StoredKeys,
        StoredReencryption,
        StoredRootKey,
        StoredSigningKey,
    )
    from gatewright.storage.merkle import (
        CACHED_LEVEL,
        EMPTY_ROOT,
        CompactMerkleTree,
        check_consistency,
        check_inclusion,
        consistency_path,
        inclusion_path,
        largest_power_below,
        leaf_hash,
        node_hash,
    )
    from gatewright.storage.protocol import Store
    from gatewright.storage.sessions import RefreshOutcome, RefreshResult, RefreshRotation, StoredSession
    from gatewright.storage.sqlite.engine import SqliteEngine, translate
    from gatewright.storage.sqlite.migrations import available, migrate
    from gatewright.storage.sqlite.store import SqliteStore
    from gatewright.storage.tenants import (
        PLATFORM_TENANT,
        PermissionViolation,
        StoredAccount,
        StoredGrant,
        StoredInvitation,
        StoredManufacturer,
    )
    from gatewright.storage.usage import Leased, LeasedUnits, StoredAdjustment, UsageTake

_NAMES = {
    "gatewright.storage.attempts": (
        "AttemptPolicy",
        "LockoutState",
        "OneTimeSecret",
        "Rate",
        "ThrottleResult",
        "reserve",
        "settle",
    ),
    "gatewright.storage.audit": (
        "AuditBinding",
        "AuditBody",
        "AuditFields",
        "AuditQuery",
        "StoredAuditEntry",
        "StoredCheckpoint",
        "StoredIncident",
        "StoredProposal",
        "TIMELINE_LIMIT",
        "decode_body",
        "encode_body",
        "stored_entry",
    ),
    "gatewright.storage.cache": ("Cache",),
    "gatewright.storage.cache.invalidation": (
        "PUBLISH",
        "RedisInvalidation",
    ),
    "gatewright.storage.cache.memory": ("MemoryCache",),
    "gatewright.storage.cache.redis": ("RedisCache",),
    "gatewright.storage.changes": ("Changes",),
    "gatewright.storage.credentials": (
        "StoredApiKey",
        "StoredDevice",
        "StoredPasskey",
        "StoredTotp",
    ),
    "gatewright.storage.feedback": (
        "StoredFeedback",
        "StoredModelVersion",
    ),
    "gatewright.storage.keys": (
        "KEYS_TOPIC",
        "KeyStore",
        "Revocation",
        "Rewrapping",
        "StoredDataKey",
        "StoredKeyGeneration",
        "StoredKeys",
        "StoredReencryption",
        "StoredRootKey",
        "StoredSigningKey",
    ),
    "gatewright.storage.merkle": (
        "CACHED_LEVEL",
        "EMPTY_ROOT",
        "CompactMerkleTree",
        "check_consistency",
        "check_inclusion",
        "consistency_path",
        "inclusion_path",
        "largest_power_below",
        "leaf_hash",
        "node_hash",
    ),
    "gatewright.storage.protocol": ("Store",),
    "gatewright.storage.sessions": (
        "RefreshOutcome",
        "RefreshResult",
        "RefreshRotation",
        "StoredSession",
    ),
    "gatewright.storage.sqlite.engine": (
        "SqliteEngine",
        "translate",
    ),
    "gatewright.storage.sqlite.migrations": (
        "available",
        "migrate",
    ),
    "gatewright.storage.sqlite.store": ("SqliteStore",),
    "gatewright.storage.tenants": (
        "PLATFORM_TENANT",
        "PermissionViolation",
        "StoredAccount",
        "StoredGrant",
        "StoredInvitation",
        "StoredManufacturer",
    ),
    "gatewright.storage.usage": (
        "Leased",
        "LeasedUnits",
        "StoredAdjustment",
        "UsageTake",
    ),
}

__all__ = [
    "CACHED_LEVEL",
    "EMPTY_ROOT",
    "KEYS_TOPIC",
    "PLATFORM_TENANT",
    "PUBLISH",
    "TIMELINE_LIMIT",
    "AttemptPolicy",
    "AuditBinding",
    "AuditBody",
    "AuditFields",
    "AuditQuery",
    "Cache",
    "Changes",
    "CompactMerkleTree",
    "KeyStore",
    "Leased",
    "LeasedUnits",
    "LockoutState",
    "MemoryCache",
    "OneTimeSecret",
    "PermissionViolation",
    "Rate",
    "RedisCache",
    "RedisInvalidation",
    "RefreshOutcome",
    "RefreshResult",
    "RefreshRotation",
    "Revocation",
    "Rewrapping",
    "SqliteEngine",
    "SqliteStore",
    "Store",
    "StoredAccount",
    "StoredAdjustment",
    "StoredApiKey",
    "StoredAuditEntry",
    "StoredCheckpoint",
    "StoredDataKey",
    "StoredDevice",
    "StoredFeedback",
    "StoredGrant",
    "StoredIncident",
    "StoredInvitation",
    "StoredKeyGeneration",
    "StoredKeys",
    "StoredManufacturer",
    "StoredModelVersion",
    "StoredPasskey",
    "StoredProposal",
    "StoredReencryption",
    "StoredRootKey",
    "StoredSession",
    "StoredSigningKey",
    "StoredTotp",
    "ThrottleResult",
    "UsageTake",
    "available",
    "check_consistency",
    "check_inclusion",
    "consistency_path",
    "decode_body",
    "encode_body",
    "inclusion_path",
    "largest_power_below",
    "leaf_hash",
    "migrate",
    "node_hash",
    "reserve",
    "settle",
    "stored_entry",
    "translate",
]

__getattr__ = lazy_names(__name__, _NAMES)
