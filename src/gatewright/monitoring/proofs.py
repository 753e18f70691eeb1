"""Inclusion and consistency proofs, which anyone with the verifier key can check."""

from __future__ import annotations

from collections.abc import Sequence

from gatewright.errors import StorageError
from gatewright.monitoring.checkpoints import read_checkpoint, signed_by
from gatewright.records import Record
from gatewright.storage.audit import AuditStore
from gatewright.storage.merkle import (
    CACHED_LEVEL,
    check_consistency,
    check_inclusion,
    consistency_path,
    inclusion_path,
    largest_power_below,
    leaf_hash,
    node_hash,
)

_HIGHEST_CACHED = 4 * CACHED_LEVEL


class InclusionProof(Record, frozen=True, kw_only=True):
    """Proves that the log under ``checkpoint`` (a signed note) contains ``entry`` (canonical JSON) at ``index``.

    ``path`` contains hashes in hex, from the leaf up (RFC 9162 §2.1.3).
    """

    event_id: str
    index: int
    size: int
    entry: str
    leaf_hash: str
    root: str
    path: tuple[str, ...]
    checkpoint: str


class ConsistencyProof(Record, frozen=True, kw_only=True):
    """Proves that the log under checkpoint ``new`` starts with the one under ``old`` (RFC 9162 §2.1.4)."""

    old: str
    new: str
    path: tuple[str, ...]


def check_inclusion_proof(proof: InclusionProof, keys: Sequence[str]) -> bool:
    """Whether the proof is valid, and its checkpoint is signed by one of the verifier keys."""
    checkpoint = read_checkpoint(proof.checkpoint)
    path = [bytes.fromhex(step) for step in proof.path]
    leaf = leaf_hash(proof.entry.encode())
    return (
        signed_by(proof.checkpoint, keys)
        and leaf.hex() == proof.leaf_hash
        and check_inclusion(leaf, proof.index, checkpoint.size, path, bytes.fromhex(checkpoint.root))
    )


def check_consistency_proof(proof: ConsistencyProof, keys: Sequence[str]) -> bool:
    """Whether the proof is valid, and both checkpoints are signed by one of the verifier keys."""
    old, new = read_checkpoint(proof.old), read_checkpoint(proof.new)
    path = [bytes.fromhex(step) for step in proof.path]
    roots = bytes.fromhex(old.root), bytes.fromhex(new.root)
    return (
        signed_by(proof.old, keys)
        and signed_by(proof.new, keys)
        and check_consistency(old.size, new.size, *roots, path)
    )


async def inclusion(store: AuditStore, index: int, size: int) -> tuple[str, ...]:
    """The inclusion path of a leaf in the tree of ``size`` leaves, in hex."""
    return tuple([(await subtree_hash(store, *part)).hex() for part in inclusion_path(index, size)])


async def consistency(store: AuditStore, old: int, new: int) -> tuple[str, ...]:
    """The consistency path from the tree of ``old`` leaves to the one of ``new`` leaves, in hex."""
    return tuple([(await subtree_hash(store, *part)).hex() for part in consistency_path(old, new)])


async def subtree_hash(store: AuditStore, start: int, stop: int) -> bytes:
    """The hash over a range of leaves (RFC 9162). Complete subtrees come from the store's cache."""
    width = stop - start
    if width & (width - 1) == 0 and start % width == 0:
        height = width.bit_length() - 1
        level = min(height - height % CACHED_LEVEL, _HIGHEST_CACHED)
        nodes = await store.audit_nodes(level, start >> level, stop >> level)
        if len(nodes) != width >> level:
            raise StorageError("The audit log is incomplete.", code="AUDIT_DAMAGED")
        while len(nodes) > 1:
            nodes = [node_hash(nodes[i], nodes[i + 1]) for i in range(0, len(nodes), 2)]
        return nodes[0]
    middle = start + largest_power_below(width)
    return node_hash(await subtree_hash(store, start, middle), await subtree_hash(store, middle, stop))
