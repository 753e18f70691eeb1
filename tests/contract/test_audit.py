"""What every store promises of the audit log."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from gatewright.storage import (
    EMPTY_ROOT,
    AuditBinding,
    AuditBody,
    AuditFields,
    AuditQuery,
    CompactMerkleTree,
    Store,
    StoredAuditEntry,
    StoredCheckpoint,
    decode_body,
    encode_body,
    stored_entry,
)


def entry(number: int, **fields: Any) -> StoredAuditEntry:
    values: dict[str, Any] = {"severity": 0, "kind": "a:b:c", "manufacturer_id": 'm"\\é', **fields}
    found_by = AuditFields(at=1_000_000_000_000 + number * 1_000_001, event_id=f"e{number:06}", **values)
    return stored_entry(encode_body(AuditBody(found_by, data={"n": number})), found_by)


def root_of(entries: list[StoredAuditEntry]) -> bytes:
    growth = CompactMerkleTree()
    for one in entries:
        growth.append(one.leaf_hash)
    return growth.root()


async def test_an_empty_log(store: Store) -> None:
    head = await store.audit_head()
    assert (head.size, head.root, head.stored) == (0, EMPTY_ROOT, 0)
    assert await store.read_audit(0, 10) == []
    assert await store.find_audit("e000001") is None
    assert (await store.append_audit([])).size == 0


async def test_entries_get_consecutive_indexes_and_the_head_moves_along(store: Store) -> None:
    entries = [entry(n) for n in range(600)]
    for at in range(0, 600, 97):
        head = await store.append_audit(entries[at : at + 97])
    assert head.size == head.stored == 600
    assert head.root == root_of(entries)
    assert await store.audit_head() == head
    kept = await store.read_audit(0, 1000)
    assert [one.index for one in kept] == list(range(600))
    assert [one.body for one in kept] == [one.body for one in entries]
    assert await store.scan_audit(598, 10) == [(n, entries[n].body, entries[n].leaf_hash) for n in (598, 599)]
    found = await store.find_audit("e000123")
    assert found is not None
    assert found.index == 123
    assert await store.mismatched_audit(0, 600) is None


async def test_an_event_is_kept_once(store: Store) -> None:
    await store.append_audit([entry(1), entry(2), entry(2)])
    head = await store.append_audit([entry(2), entry(3), entry(1)])
    assert head.size == 3
    assert head.root == root_of([entry(1), entry(2), entry(3)])


class Binder:
    """Binds with a mark of its own, and knows those of ``trusted``."""

    def __init__(self, mark: bytes, *trusted: bytes) -> None:
        self.mark, self.trusted = mark, (mark, *trusted)

    def bind(self, bound_from: int, size: int, root: bytes) -> AuditBinding:
        return AuditBinding(bound_from=bound_from, size=size, root=root, mac=self.mark)

    def verify(self, binding: AuditBinding) -> bool:
        return binding.mac in self.trusted


async def test_a_binding_moves_along_with_the_head(store: Store) -> None:
    binder = Binder(b"one")
    assert await store.audit_bindings() == (await store.audit_head(), [])
    await store.append_audit([], binder)
    assert (await store.audit_bindings())[1] == []
    for at in range(0, 300, 100):
        assert not (await store.append_audit([entry(n) for n in range(at, at + 100)], binder)).rebound
    await store.append_audit([entry(7)], binder)
    head = await store.audit_head()
    bound = AuditBinding(bound_from=0, size=300, root=head.root, mac=b"one")
    assert await store.audit_bindings() == (head, [bound])


async def test_what_was_there_before_is_not_bound(store: Store) -> None:
    await store.append_audit([entry(n) for n in range(5)])
    assert not (await store.append_audit([entry(5)], Binder(b"one"))).rebound
    _, (binding,) = await store.audit_bindings()
    assert (binding.bound_from, binding.size) == (5, 6)


async def test_a_binding_that_does_not_hold_is_kept_as_evidence(store: Store) -> None:
    await store.append_audit([entry(0)], Binder(b"one"))
    assert (await store.append_audit([entry(1)], Binder(b"two"))).rebound
    assert not (await store.append_audit([entry(2)], Binder(b"two"))).rebound
    assert not (await store.append_audit([entry(3)], Binder(b"three", b"two"))).rebound  # a rotated secret
    await store.append_audit([entry(4)])
    assert (await store.append_audit([entry(5)], Binder(b"three"))).rebound
    _, bindings = await store.audit_bindings()
    assert [(b.bound_from, b.size, b.mac) for b in bindings] == [(0, 1, b"one"), (1, 4, b"three"), (5, 6, b"three")]


async def test_writers_at_the_same_time_bind_one_after_the_other(store: Store) -> None:
    binder = Binder(b"one")
    await asyncio.gather(*(store.append_audit([entry(100 * n + i) for i in range(20)], binder) for n in range(30)))
    head, bindings = await store.audit_bindings()
    assert [(b.bound_from, b.size, b.root) for b in bindings] == [(0, 600, head.root)]


async def test_writers_at_the_same_time_take_turns(store: Store) -> None:
    await asyncio.gather(*(store.append_audit([entry(100 * n + i) for i in range(20)]) for n in range(30)))
    kept = await store.read_audit(0, 1000)
    assert [one.index for one in kept] == list(range(600))
    assert (await store.audit_head()).root == root_of(kept)
    for start in range(0, 600, 20):  # each batch stayed together
        assert len({one.event_id[:5] for one in kept[start : start + 20]}) == 1


def test_a_body_is_canonical_and_begins_with_its_fields() -> None:
    fields = AuditFields(1, 2, "e", "k", None, "a\u00e9")
    body = encode_body(AuditBody(fields, data={"b": 1, "a": [1.5, None]}))
    expected = '{"fields":[1,2,"e","k",null,"a\u00e9",null,null],"data":{"a":[1.5,null],"b":1}}'
    assert body.decode() == expected
    assert decode_body(body) == AuditBody(fields, data={"a": [1.5, None], "b": 1})


async def test_nodes_of_finished_subtrees(store: Store) -> None:
    entries = [entry(n) for n in range(700)]
    await store.append_audit(entries)
    assert await store.audit_nodes(0, 3, 5) == [entries[3].leaf_hash, entries[4].leaf_hash]
    assert await store.audit_nodes(8, 0, 9) == [root_of(entries[:256]), root_of(entries[256:512])]
    assert await store.audit_nodes(16, 0, 1) == []


async def test_searching(store: Store) -> None:
    await store.append_audit(
        [
            entry(0, kind="auth:login:failed", manufacturer_id="a", ip_address="192.0.2.1"),
            entry(1, kind="auth:login:succeeded", manufacturer_id="a", account_id="x", severity=2),
            entry(2, kind="rbac:permission:denied", manufacturer_id="b", request_id="r"),
        ]
    )

    async def found(**query: Any) -> list[int]:
        return [one.index for one in await store.search_audit(AuditQuery(**query))]

    assert await found() == [2, 1, 0]
    assert await found(limit=2) == [2, 1]
    assert await found(before=2) == [1, 0]
    assert await found(kind="auth:*") == [1, 0]
    assert await found(kind="auth:login:failed") == [0]
    assert await found(kind="auth:login") == []
    assert await found(manufacturer_id="a") == [1, 0]
    assert await found(account_id="x") == [1]
    assert await found(ip_address="192.0.2.1") == [0]
    assert await found(request_id="r") == [2]
    assert await found(severity=2) == [1]
    assert await found(since=1_000_001, until=1_000_002) == [1]


async def test_checkpoints_in_order_of_size(store: Store) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for size in (5, 3, 9, 3):
        await store.add_checkpoint(StoredCheckpoint(size=size, root=bytes(32), created_at=at, note=f"n{size}"))
    assert [c.size for c in await store.list_checkpoints()] == [3, 5, 9]
    assert await store.list_checkpoints(limit=1) == [StoredCheckpoint(size=9, root=bytes(32), created_at=at, note="n9")]
