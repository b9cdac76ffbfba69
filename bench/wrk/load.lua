-- Sends the requests of a file, one after another and around again, and reports as JSON on the last line.
-- BENCH_REQUESTS: the file; each line is "METHOD PATH" or "METHOD PATH BODY".
-- BENCH_STATUSES: "1" counts the answers by status, which costs wrk CPU time; without it, only those above 399.
local requests = {}
for line in io.lines(os.getenv("BENCH_REQUESTS")) do
  local method, path, body = line:match("^(%S+) (%S+) ?(.*)$")
  requests[#requests + 1] = { method = method, path = path, body = body ~= "" and body or nil }
end

local function headers_of(request)
  return request.body and { ["Content-Type"] = "application/json" } or {}
end

if #requests == 1 then
  -- Without a function `request`, wrk sends one prepared text and Lua has no part in it.
  wrk.method, wrk.path, wrk.body = requests[1].method, requests[1].path, requests[1].body
  wrk.headers = headers_of(requests[1])
else
  local texts, next_text = {}, 0
  init = function(args)
    for number, each in ipairs(requests) do
      texts[number] = wrk.format(each.method, each.path, headers_of(each), each.body)
    end
    next_text = os.time() * 7919 % #texts -- rounds begin at different places
  end
  request = function()
    next_text = next_text % #texts + 1
    return texts[next_text]
  end
end

local threads = {}
setup = function(thread)
  threads[#threads + 1] = thread
end

if os.getenv("BENCH_STATUSES") == "1" then
  statuses = {}
  response = function(status)
    statuses[status] = (statuses[status] or 0) + 1
  end
end

done = function(summary, latency)
  local counts = {}
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("statuses") or {}) do
      counts[status] = (counts[status] or 0) + count
    end
  end
  local by_status = {}
  for status, count in pairs(counts) do
    by_status[#by_status + 1] = string.format('"%d": %d', status, count)
  end
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p90_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, '
      .. '"refused": %d, "failed": %d, "by_status": {%s}}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(90) / 1e3,
    latency:percentile(99) / 1e3, latency.max / 1e3, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    table.concat(by_status, ", ")
  ))
end
