"""Tests of `gatewright.testing`."""
