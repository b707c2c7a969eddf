-- What wrk sends: `wrk ... -s load.lua URL -- KIND USERS ITEMS OFFSET START SEED`
-- KIND is "recommend" (one request in ten writes an event), "score" or "million" (nothing is written).
-- Users are drawn by Zipf over all of them, the order of their weights shuffled; so are the items of events
-- and scores. Every event has an id of its own. OFFSET: the number of the first user and item (ids are numbers);
-- START: seconds since 1970 of the first event.
local kind, offset, start, seed
local POOL, TENTH = 20000, 10
local JSON = { ["Content-Type"] = "application/json" }
local asked, users, items = {}, {}, {}
local sent = 0

local function shuffled(num)
  local order = {}
  for i = 1, num do order[i] = i end
  for i = num, 2, -1 do
    local j = math.random(i)
    order[i], order[j] = order[j], order[i]
  end
  return order
end

local function zipf(num)
  local ends, total, order = {}, 0, shuffled(num)
  for i = 1, num do
    total = total + 1 / i
    ends[i] = total
  end
  return function()
    local at, low, high = math.random() * total, 1, num
    while low < high do
      local middle = math.floor((low + high) / 2)
      if ends[middle] < at then low = middle + 1 else high = middle end
    end
    return order[low] - 1 + offset
  end
end

function init(args)
  kind, offset, start, seed = args[1], tonumber(args[4]), tonumber(args[5]), args[6]
  math.randomseed(7)
  local user, item = zipf(tonumber(args[2])), zipf(tonumber(args[3]))
  for i = 1, POOL do
    users[i], items[i] = user(), item()
    if kind == "score" then
      local body = string.format('{"rows":[{"user_id":"%d","item_id":"%d"}]}', users[i], items[i])
      asked[i] = wrk.format("POST", "/v1/score", JSON, body)
    else
      asked[i] = wrk.format("POST", "/v1/recommend", JSON, string.format('{"user_id":"%d","k":10}', users[i]))
    end
  end
end

function request()
  sent = sent + 1
  local at = (sent * 7919) % POOL + 1
  if kind ~= "recommend" or sent % TENTH ~= 0 then return asked[at] end
  local body = string.format(
    '{"event_id":"%s-%d","user_id":"%d","item_id":"%d","rating":%d,"timestamp":%d}',
    seed, sent, users[at], items[(at * 31) % POOL + 1], sent % 5 + 1, start + sent
  )
  return wrk.format("POST", "/v1/events", JSON, body)
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p90_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, "failed": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(90) / 1e3,
    latency:percentile(99) / 1e3, latency.max / 1e3,
    errors.connect + errors.read + errors.write + errors.timeout + errors.status
  ))
end
