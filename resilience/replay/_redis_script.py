"""What Redis does for one work on one key, as a script: no other command comes between its steps.

A key is a hash: `owner`, `state` (begun or kept), `lease` (its end, ms of the server's clock), `again`, `answer`. It
ends by itself with the retention, or with the lease where that is longer.
"""

__all__ = ["SCRIPT", "TOO_LATE"]

TOO_LATE = "TOOLATE"
"""The error of a work that was not begun, since nobody waits for it any more."""

SCRIPT = """
local key, what, owner, latest = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if now > latest then return redis.error_reply('TOOLATE it lay about on its way') end

local held = redis.pcall('HMGET', key, 'owner', 'state', 'lease', 'again')
if held.err or (not held[1] and redis.call('EXISTS', key) == 1) then
  return what == 'begin' and {'foreign'} or 0
end
local begun, ours = held[2] == 'begun', held[1] == owner

if what == 'begin' then
  local lease, retention, take = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6] == '1'
  if held[2] == 'kept' then return {'kept', redis.call('HGET', key, 'answer')} end
  local again = begun and (not ours or held[4] == '1')
  if begun and not ours then
    local left = tonumber(held[3]) - now
    if left > 0 then return {'busy', left} end
    if not take then return {'broken'} end
  end
  redis.call('HSET', key, 'owner', owner, 'state', 'begun', 'lease', now + lease, 'again', again and '1' or '0')
  redis.call('PEXPIRE', key, math.max(retention, lease))
  return {'new', again and 1 or 0}
end

if not ours then return 0 end
if what == 'keep' then
  if not begun then return 1 end
  redis.call('HSET', key, 'state', 'kept', 'answer', ARGV[4])
  redis.call('PEXPIRE', key, tonumber(ARGV[5]))
  return 1
end
if not begun then return 0 end
if what == 'free' then return redis.call('DEL', key) end
local lease = tonumber(ARGV[4])
redis.call('HSET', key, 'lease', now + lease)
if redis.call('PTTL', key) < lease then redis.call('PEXPIRE', key, lease) end
return 1
"""
