-- Builds the requests that wrk sends. Arguments: the base path, then the fields of Requests in wrk.py, in the same order,
-- then a token, if the service needs one.

local SCATTER, SCATTER_MODULUS = 2654435761, 4294967296 -- as in filling.py

local count = 0
local base, second, page, limit, first_event, events, first_mentor, mentors
local headers = {["content-type"] = "application/json"}

local function mentor_id()
  return string.format("mntr_%06d", first_mentor + count * SCATTER % SCATTER_MODULUS % mentors)
end

local function event_path()
  return string.format("%s/events/evt_%08X", base, (first_event + count % events) * SCATTER % SCATTER_MODULUS)
end

local operations = {
  submit = function()
    local body = string.format(
      '{"event_type":"PauseMentorEvent","mentor_id":"%s","reason":"Taking a short break",' ..
      '"client_timestamp":"2026-03-26T09:14:%s.%06dZ"}', mentor_id(), second, count)
    return wrk.format("POST", base .. "/events", headers, body)
  end,
  snapshot = function() return wrk.format("GET", base .. "/" .. mentor_id()) end,
  list = function() return wrk.format("GET", base .. "?page=" .. page .. "&limit=" .. limit) end,
  update = function()
    local body = string.format('{"acknowledged":false,"reason":"Corrected: leave %06d"}', count)
    return wrk.format("PUT", event_path(), headers, body)
  end,
  delete = function() return wrk.format("DELETE", event_path()) end,
}

local operation

function init(arguments)
  base, operation = arguments[1], operations[arguments[2]]
  second, page, limit = arguments[3], arguments[4], arguments[5]
  first_event, events = tonumber(arguments[6]), tonumber(arguments[7])
  first_mentor, mentors = tonumber(arguments[8]), tonumber(arguments[9])
  if arguments[10] then
    headers["authorization"] = "Bearer " .. arguments[10]
    wrk.headers["authorization"] = headers["authorization"] -- for requests without headers of their own
  end
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
