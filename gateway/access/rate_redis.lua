-- Takes from buckets, or gives back, in one step.
--
-- KEYS: every bucket of every order, in turn. ARGV: the seconds that a place is kept; the orders, as msgpack, each
--   { what to do, lease, { of each bucket what it holds, its refill a second, the amount } }
--   take    each amount, or nothing from any of its buckets if one of them is not there
--   settle  each amount, negative ones give back, whether it is there or not
--   hold    the lease's places for as long again
-- A refill of 0 stands for places among what is concurrent.
-- Answer, as msgpack: of each order the positions, from 0, of the buckets that held too little, and what is left of each.
--
-- A bucket is kept as "USED AT", until it is whole again; places as leases by the instant at which they end. The time is
-- the server's, so that gateways with other clocks agree.

local lasting, orders = tonumber(ARGV[1]), cmsgpack.unpack(ARGV[2])
local time = redis.call("TIME")
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local key_number = 0

local function used_of(key, rate)
  if rate == 0 then
    redis.call("ZREMRANGEBYSCORE", key, "-inf", now)
    return redis.call("ZCARD", key)
  end
  local kept = redis.call("GET", key)
  if not kept then
    return 0
  end
  local used, at = string.match(kept, "^(%S+) (%S+)$")
  return math.max(0, tonumber(used) - math.max(0, now - tonumber(at)) * rate)
end

local function keep(key, used, rate)
  if used <= 0 then
    redis.call("DEL", key)
    return 0
  end
  local milliseconds = string.format("%.0f", math.ceil(used / rate * 1000) + 1000)
  redis.call("SET", key, string.format("%.17g %.17g", used, now), "PX", milliseconds)
  return used
end

local function keep_place(key, lease, amount)
  if amount > 0 then
    redis.call("ZADD", key, string.format("%.17g", now + lasting), lease)
    local milliseconds = math.max(redis.call("PTTL", key), math.ceil(lasting * 1000) + 1000)
    redis.call("PEXPIRE", key, string.format("%.0f", milliseconds))
  else
    redis.call("ZREM", key, lease)
  end
  return redis.call("ZCARD", key)
end

local function answer(action, lease, quotas)
  local first, violated, used, remaining = key_number, {}, {}, {}
  key_number = first + #quotas
  for i, quota in ipairs(quotas) do
    local most, rate, amount = quota[1], quota[2], quota[3]
    used[i] = used_of(KEYS[first + i], rate)
    if action == "take" and amount > 0 and used[i] + amount > most + most * 1e-12 + 1e-9 then
      violated[#violated + 1] = i - 1
    end
  end
  for i, quota in ipairs(quotas) do
    local key, most, rate, amount = KEYS[first + i], quota[1], quota[2], quota[3]
    if #violated == 0 and amount ~= 0 then
      used[i] = rate > 0 and keep(key, used[i] + amount, rate) or keep_place(key, lease, amount)
    end
    remaining[i] = most - used[i]
  end
  return { violated, remaining }
end

local answers = {}
for i, order in ipairs(orders) do
  answers[i] = answer(order[1], order[2], order[3])
end
return cmsgpack.pack(answers)
