"""The Lua scripts of the Redis cache. Each touches one key, so all of them work in a cluster."""

from __future__ import annotations

THROTTLE = """
-- GCRA, as gatewright.storage.throttle.decide; the server's clock is everybody's. Returns allowed, and in seconds
-- (as text, Redis cuts numbers to integers) how far the bucket is filled after, and what was there before.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local period, interval, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local stored = tonumber(redis.call('GET', KEYS[1]) or now)
local current = math.max(stored, now)
local following = current + interval * math.max(cost, 1)
local allowed = following - now <= period + 0.000001
local kept = current
if allowed and cost > 0 then
  kept = following
  redis.call('SET', KEYS[1], string.format('%.6f', kept), 'PX', math.ceil((kept - now) * 1000) + 1)
end
return {allowed and 1 or 0, string.format('%.6f', kept - now), string.format('%.6f', current - now)}
"""

INCREMENT = """
local total = redis.call('INCRBY', KEYS[1], ARGV[1])
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return total
"""

PUBLISH = """
-- Number the message and send it: who sees a number left out has missed one.
local epoch = redis.call('INCR', KEYS[1])
redis.call('PUBLISH', ARGV[1], epoch .. ' ' .. ARGV[2])
return epoch
"""
