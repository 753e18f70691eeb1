"""Benchmarks: one file for each figure, peers measured in the same run on the same machine."""
