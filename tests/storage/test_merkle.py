"""Tests of the RFC 9162 Merkle tree, against published vectors and a naive implementation."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, strategies as st

from gatewright.storage import (
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

# From merkle_tree_test in the Certificate Transparency reference implementation; C2SP uses them too.
LEAVES = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def naive_root(leaves: list[bytes]) -> bytes:
    """Compute a root by the recursive definition of §2.1.1."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    middle = largest_power_below(len(leaves))
    return node_hash(naive_root(leaves[:middle]), naive_root(leaves[middle:]))


def hashes(count: int) -> list[bytes]:
    return [leaf_hash(b"%d" % number) for number in range(count)]


def test_published_roots() -> None:
    tree = CompactMerkleTree()
    assert tree.root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for leaf, root in zip(LEAVES, ROOTS, strict=True):
        tree.append(leaf_hash(leaf))
        assert tree.root().hex() == root


@given(st.integers(0, 700), st.integers(0, 700))
def test_tree_resumes_from_its_peaks(first: int, more: int) -> None:
    leaves = hashes(first + more)
    original = CompactMerkleTree()
    for leaf in leaves[:first]:
        original.append(leaf)
    resumed = CompactMerkleTree(original.size, original.peaks)
    for leaf in leaves[first:]:
        resumed.append(leaf)
    assert resumed.root() == naive_root(leaves)


def test_appending_blocks_builds_the_same_tree() -> None:
    width = 1 << CACHED_LEVEL
    leaves = hashes(5 * width + 3)
    one_by_one, by_blocks = CompactMerkleTree(), CompactMerkleTree()
    for leaf in leaves:
        one_by_one.append(leaf)
    for at in range(0, 5 * width, width):
        by_blocks.append_block(leaves[at : at + width])
    for leaf in leaves[5 * width :]:
        by_blocks.append(leaf)
    assert by_blocks.peaks == one_by_one.peaks
    assert by_blocks.finished == one_by_one.finished
    assert [index for level, index, _ in by_blocks.finished if level == CACHED_LEVEL] == [0, 1, 2, 3, 4]


def test_wrong_number_of_peaks_is_rejected() -> None:
    with pytest.raises(ValueError, match="peaks"):
        CompactMerkleTree(3, [EMPTY_ROOT])


@given(st.data(), st.integers(1, 130))
def test_inclusion_proofs(data: st.DataObject, size: int) -> None:
    leaves = hashes(size)
    root = naive_root(leaves)
    index = data.draw(st.integers(0, size - 1))
    proof = [naive_root(leaves[start:stop]) for start, stop in inclusion_path(index, size)]
    assert check_inclusion(leaves[index], index, size, proof, root)
    assert not check_inclusion(leaf_hash(b"other"), index, size, proof, root)
    assert not check_inclusion(leaves[index], index, size, proof, hashlib.sha256(root).digest())
    assert not check_inclusion(leaves[index], index, size, [*proof, root], root)
    assert not check_inclusion(leaves[index], size, size, proof, root)
    if proof:
        assert not check_inclusion(leaves[index], index, size, proof[:-1], root)
        wrong = data.draw(st.integers(0, size - 1).filter(lambda other: other != index))
        assert not check_inclusion(leaves[index], wrong, size, proof, root)


@given(st.data(), st.integers(1, 130))
def test_consistency_proofs(data: st.DataObject, new: int) -> None:
    leaves = hashes(new)
    old = data.draw(st.integers(1, new))
    roots = naive_root(leaves[:old]), naive_root(leaves)
    proof = [naive_root(leaves[start:stop]) for start, stop in consistency_path(old, new)]
    assert check_consistency(old, new, *roots, proof)
    changed = [leaf_hash(b"changed"), *leaves[1:]]
    assert not check_consistency(old, new, naive_root(changed[:old]), roots[1], proof)
    if old < new:
        assert not check_consistency(old, new, roots[0], naive_root(changed), proof)
        assert not check_consistency(old, new, *roots, proof[:-1])
        assert not check_consistency(old, new, *roots, [*proof, proof[0]])


def test_proofs_outside_the_tree_are_rejected() -> None:
    with pytest.raises(ValueError, match="leaf"):
        inclusion_path(3, 3)
    for old, new in ((0, 3), (4, 3)):
        with pytest.raises(ValueError, match="continue"):
            consistency_path(old, new)
    assert not check_consistency(0, 3, EMPTY_ROOT, EMPTY_ROOT, [EMPTY_ROOT])
