"""The Merkle tree of RFC 9162 §2.1: hashing, appending, and inclusion and consistency proofs.

A log of n leaves is represented by its *peaks*: the roots of the perfect subtrees that make up n leaves, largest
first (13 = 8 + 4 + 1). Appending needs only the peaks, and the root is computed from them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

EMPTY_ROOT = hashlib.sha256(b"").digest()

CACHED_LEVEL = 8
"""Subtree roots are cached at this level (256 leaves) and its multiples, which keeps proofs cheap."""

_sha256 = hashlib.sha256


def leaf_hash(entry: bytes) -> bytes:
    """Hash a leaf."""
    return _sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash an inner node."""
    return _sha256(b"\x01" + left + right).digest()


class CompactMerkleTree:
    """An append-only tree.

    Args:
        size: number of leaves so far.
        peaks: its peaks, largest first: one for each set bit of ``size``.
    """

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self.peaks = list(peaks)
        if len(self.peaks) != size.bit_count():
            raise ValueError(
                f"Got {len(self.peaks)} peaks. A tree of {size} leaves has {size.bit_count()} peaks. Pass the size and"
                " the peaks of the same tree."
            )
        self.finished: list[tuple[int, int, bytes]] = []
        """Cached subtrees completed by this object: (level, index at that level, hash)."""

    def append(self, leaf: bytes) -> None:
        """Append a leaf, given its hash."""
        self._add(leaf, 0)

    def append_block(self, leaves: Sequence[bytes]) -> None:
        """Append 2**CACHED_LEVEL leaves at a size that is a multiple of it; twice as fast as one by one."""
        nodes = leaves
        while len(nodes) > 1:
            pairs = zip(nodes[::2], nodes[1::2], strict=True)
            nodes = [_sha256(b"\x01" + left + right).digest() for left, right in pairs]
        self.finished.append((CACHED_LEVEL, self.size >> CACHED_LEVEL, nodes[0]))
        self._add(nodes[0], CACHED_LEVEL)

    def _add(self, node: bytes, height: int) -> None:
        """Append a perfect subtree of this height."""
        peaks, width, index = self.peaks, 1 << height, self.size >> height
        while index & 1:
            node = _sha256(b"\x01" + peaks.pop() + node).digest()
            index >>= 1
            height += 1
            if height % CACHED_LEVEL == 0:
                self.finished.append((height, index, node))
        peaks.append(node)
        self.size += width

    def root(self) -> bytes:
        """Return the root hash of the tree."""
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root


def largest_power_below(size: int) -> int:
    """Return the largest power of two below ``size`` (at least 2), where RFC 9162 splits a tree."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_path(index: int, size: int) -> list[tuple[int, int]]:
    """Return the subtrees, as (start, stop), that prove inclusion of leaf ``index`` in ``size`` leaves (§2.1.3.1)."""
    if not 0 <= index < size:
        raise ValueError(f"No leaf {index} in a tree of {size} leaves. Pass an index from 0 to {size - 1}.")
    start, stop, path = 0, size, []
    while stop - start > 1:
        middle = start + largest_power_below(stop - start)
        if index < middle:
            path.append((middle, stop))
            stop = middle
        else:
            path.append((start, middle))
            start = middle
    return path[::-1]


def consistency_path(old: int, new: int) -> list[tuple[int, int]]:
    """Return the subtrees that prove that a tree of ``new`` leaves extends one of ``old`` leaves (§2.1.4.1)."""
    if not 0 < old <= new:
        raise ValueError(f"A tree of {new} leaves cannot continue one of {old}. Pass an old size from 1 to {new}.")
    start, stop, old_stop, complete, path = 0, new, old, True, []
    while old_stop != stop:
        middle = start + largest_power_below(stop - start)
        if old_stop <= middle:
            path.append((middle, stop))
            stop = middle
        else:
            path.append((start, middle))
            start, complete = middle, False
    if not complete:
        path.append((start, stop))
    return path[::-1]


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether ``proof`` proves the leaf hash at ``index`` of the tree with this size and root (§2.1.3.2)."""
    if not 0 <= index < size:
        return False
    position, last, current = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            current = node_hash(step, current)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            current = node_hash(current, step)
        position >>= 1
        last >>= 1
    return last == 0 and current == root


def check_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether ``proof`` proves that the tree of ``new`` leaves extends the one of ``old`` leaves (§2.1.4.2)."""
    if old == new:
        return not proof and old_root == new_root
    if not 0 < old < new or not proof:
        return False
    steps = list(proof) if old & (old - 1) else [old_root, *proof]
    position, last = old - 1, new - 1
    while position & 1:
        position >>= 1
        last >>= 1
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            before, after = node_hash(step, before), node_hash(step, after)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            after = node_hash(after, step)
        position >>= 1
        last >>= 1
    return last == 0 and before == old_root and after == new_root
