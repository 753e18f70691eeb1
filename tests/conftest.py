"""Fixtures for every test."""

from tests.support.redis import redis_server, redis_session

__all__ = ["redis_server", "redis_session"]
