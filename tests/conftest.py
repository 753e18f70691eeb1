"""Fixtures for every test."""

import os

from hypothesis import HealthCheck, settings

from tests.support.redis import redis_server, redis_session

__all__ = ["redis_server", "redis_session"]

# One and the same examples every time, and no clock on them: a run tells of the code, not of luck or of the machine's
# load. HYPOTHESIS_PROFILE=explore draws new ones.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", settings.get_profile("explore"), derandomize=True, database=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))
