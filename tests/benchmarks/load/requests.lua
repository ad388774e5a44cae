-- What wrk sends. Arguments: the operation; the second (00-59) that client timestamps lie in, so that no two runs on
-- one database send the same submit; the page to list; the names of the numbers are those of filling.py.

local PREFIX = "/api/v1/mentor-status-sync/api/v1/mentor-status-sync"
local KNOWN_MENTORS = 1000 -- of filling.py
local SUBMITTING_MENTORS = 10000
local SCATTER, SCATTER_MODULUS = 2654435761, 4294967296 -- of filling.py

local count = 0
local second, page, first_event
local headers = {["content-type"] = "application/json"}

local function event_path()
  return string.format("%s/events/evt_%08X", PREFIX, (first_event + count) * SCATTER % SCATTER_MODULUS)
end

local operations = {
  submit = function()
    local body = string.format(
      '{"event_type":"PauseMentorEvent","mentor_id":"mntr_%06d","reason":"Taking a short break",' ..
      '"client_timestamp":"2026-03-26T09:14:%sZ"}',
      count % SUBMITTING_MENTORS, string.format("%s.%06d", second, count))
    return wrk.format("POST", PREFIX .. "/events", headers, body)
  end,
  snapshot = function() return wrk.format("GET", string.format("%s/mntr_%06d", PREFIX, count % KNOWN_MENTORS)) end,
  list = function() return wrk.format("GET", string.format("%s?page=%d", PREFIX, page)) end,
  update = function()
    return wrk.format("PUT", event_path(), headers, '{"acknowledged":false,"reason":"Corrected: extended leave"}')
  end,
  delete = function() return wrk.format("DELETE", event_path()) end,
}

local operation

function init(arguments)
  operation = operations[arguments[1]]
  second = arguments[2]
  page = tonumber(arguments[3])
  first_event = tonumber(arguments[4])
end

function request()
  count = count + 1
  return operation()
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"seconds":%.6f,"p50":%d,"p99":%d,"errors":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
