#!lua name=wallet_streams

-- The functions that change the streams (Redis >= 7.0 or Valkey). Each runs atomically; those that take several
-- partitions are given one at a time on a Redis Cluster, where the keys of a partition share a slot by their hash tag:
--
--   {pNN}:wallet:<uuid>  stream  the wallet's waiting messages, each with one field, `command`: a JSON object whose names
--                                are whole words; deleted when empty
--   {pNN}:ready          stream  one message per wallet that has waiting messages
--   {pNN}:meta           hash    last_id: the last message id given out; depth: messages waiting;
--                                submitted: messages accepted since Redis was empty
--   {pNN}:dead           stream  messages that could not be understood or stored
--
-- Invariant: a wallet stream that is not empty has a ready message.

local VERSION = 9
local UNPACKED_MAX = 1000 -- unpack() takes no more than some thousand values
local DEAD_LETTER_FIELDS_MAX = 100 -- of a message made by hand

-- Ids are '<server ms>-<n>', above every id given out before in the partition, never '*': an automatic id is given out
-- again when a stream is deleted and made anew within one millisecond, and a late removal would hit the wrong message.
local function server_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function rise_above(ids, id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  ms, n = tonumber(ms), tonumber(n)
  if not ms or ms >= 2 ^ 53 or n >= 2 ^ 53 then return end -- made by hand: Lua cannot count on from there
  if ms > ids.ms or (ms == ids.ms and n > ids.n) then
    ids.ms, ids.n = ms, n
  end
end

local function id_source(now_ms, last_id)
  local ids = {ms = now_ms, n = -1, last_id = last_id or '0-0', now_ms = now_ms}
  if last_id then rise_above(ids, last_id) end
  return ids
end

local function next_id(ids)
  ids.n = ids.n + 1
  ids.last_id = string.format('%d-%d', ids.ms, ids.n)
  return ids.last_id
end

local function is_error(answer)
  return type(answer) == 'table' and answer.err ~= nil
end

local function append(ids, stream, ...)
  local id = next_id(ids)
  if is_error(redis.pcall('XADD', stream, id, ...)) then
    -- Somebody appended by hand, or the clock went back after meta was lost: go on above what the stream has seen.
    local info = redis.call('XINFO', 'STREAM', stream)
    for i = 1, #info, 2 do
      if info[i] == 'last-generated-id' then rise_above(ids, info[i + 1]) end
    end
    id = next_id(ids)
    if is_error(redis.pcall('XADD', stream, id, ...)) then return nil end
  end
  return id
end

local function age_ms(ids, entry)
  return entry and math.max(0, ids.now_ms - tonumber(string.match(entry[1], '^(%d+)'))) or 0
end

-- The oldest message of the wallet whose turn is next, found by the key of another wallet's stream.
local function first_of_next(ready, stream)
  local next_ready = redis.call('XRANGE', ready, '-', '+', 'COUNT', 1)[1]
  if not next_ready then return nil end
  local messages = redis.pcall('XRANGE', string.match(stream, '^.*:') .. next_ready[2][2], '-', '+', 'COUNT', 1)
  return not is_error(messages) and messages[1] or next_ready
end

-- What is wrong with `meta` (made by hand, or a field of it) holds nobody up who only takes away.
local function last_id_in(meta)
  local last_id = redis.pcall('HGET', meta, 'last_id')
  return not is_error(last_id) and last_id or nil
end

local function lower_depth(meta, count)
  local depth = count > 0 and redis.pcall('HINCRBY', meta, 'depth', -count) or 0
  if not is_error(depth) and depth < 0 then redis.call('HSET', meta, 'depth', 0) end
end

-- wallet_submit: appends each command to its wallet's stream, in the order given, or refuses it.
-- KEYS  per partition: ready, meta, then one wallet stream per command
-- ARGV  wallet_queue_max, partition_queue_max, then per partition: number of commands, then 2 per command: wallet,
--       command (JSON object)
-- Returns one string per command: its message id, or why nothing was appended: 'not_a_stream' (nor one that can be; or
-- another key has the name of its partition's ready or meta), or
-- 'wallet_full' or 'partition_full' and for how many ms the oldest has waited, of the wallet or of the one whose turn is
-- next.
local function submit(keys, args)
  local wallet_max, partition_max = tonumber(args[1]), tonumber(args[2])
  local now_ms, results, k, a = server_ms(), {}, 1, 3
  while k < #keys do
    local ready, meta, count = keys[k], keys[k + 1], tonumber(args[a])
    local known = redis.pcall('HMGET', meta, 'last_id', 'depth', 'submitted')
    local is_spoilt = is_error(known) or is_error(redis.pcall('XLEN', ready)) -- by hand: and the others go on
    local last_id, depth, submitted = unpack(known)
    local ids = id_source(now_ms, last_id)
    local accepted, waiting_in = 0, {} -- by stream: a hot wallet's is asked once
    depth, submitted = tonumber(depth or 0) or 0, tonumber(submitted or 0) or 0
    k, a = k + 2, a + 1
    for _ = 1, count do
      local stream = keys[k]
      local waiting = waiting_in[stream] or redis.pcall('XLEN', stream)
      if is_spoilt or is_error(waiting) then
        results[#results + 1] = 'not_a_stream' -- made by hand, and no reason to hold up the others
      elseif waiting >= wallet_max then
        local head = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
        results[#results + 1] = 'wallet_full ' .. age_ms(ids, head)
      elseif depth + accepted >= partition_max then
        results[#results + 1] = 'partition_full ' .. age_ms(ids, first_of_next(ready, stream))
      else
        local id = append(ids, stream, 'command', args[a + 1])
        results[#results + 1] = id or 'not_a_stream'
        if id then
          if waiting == 0 then append(ids, ready, 'wallet', args[a]) end
          accepted, waiting_in[stream] = accepted + 1, waiting + 1
        end
      end
      k, a = k + 1, a + 2
    end
    if accepted > 0 then
      redis.call('HSET', meta, 'last_id', ids.last_id, 'depth', depth + accepted, 'submitted', submitted + accepted)
    end
  end
  return results
end

-- wallet_finish: removes what was settled; a wallet with more waiting goes to the END of the ready stream, so that a
-- hot wallet cannot starve the rest. Idempotent: a late worker may run it again and change nothing.
-- KEYS  per partition: ready, meta, then one wallet stream per wallet
-- ARGV  per partition: number of wallets, then 3 per wallet: wallet, its ready id, the first message id to keep (what
--       was claimed is the stream's head)
-- Returns the number of messages removed.
local function finish(keys, args)
  local now_ms, removed, k, a = nil, 0, 1, 1
  local empty = {}
  while k < #keys do
    local ready, meta, count = keys[k], keys[k + 1], tonumber(args[a])
    local ids, removed_here = nil, 0
    k, a = k + 2, a + 1
    for _ = 1, count do
      local stream = keys[k]
      local trimmed = redis.pcall('XTRIM', stream, 'MINID', '=', args[a + 2])
      local was_ready = redis.pcall('XDEL', ready, args[a + 1])
      if not is_error(trimmed) then removed_here = removed_here + trimmed end
      local left = redis.pcall('XLEN', stream) -- an error: made by hand, and left alone
      if left == 0 then
        empty[#empty + 1] = stream
      elseif not is_error(left) and was_ready == 1 then
        -- Only who removed the ready message adds the next one: a second finish adds none.
        now_ms = now_ms or server_ms()
        ids = ids or id_source(now_ms, last_id_in(meta))
        append(ids, ready, 'wallet', args[a])
      end
      k, a = k + 1, a + 3
    end
    if ids then redis.pcall('HSET', meta, 'last_id', ids.last_id) end
    lower_depth(meta, removed_here)
    removed = removed + removed_here
  end
  for first = 1, #empty, UNPACKED_MAX do
    redis.call('DEL', unpack(empty, first, math.min(first + UNPACKED_MAX - 1, #empty)))
  end
  return removed
end

-- wallet_bury: moves one message to the dead letters, with the reason. Idempotent: a message that is gone stays gone.
-- KEYS  dead, meta, wallet stream
-- ARGV  message id, wallet, reason, dead_letters_max
-- Returns 1 when the message was moved, 0 when it was not there.
local function bury(keys, args)
  local entry = redis.call('XRANGE', keys[3], args[1], args[1])[1]
  if not entry then return 0 end
  local ids = id_source(server_ms(), last_id_in(keys[2]))
  local kept = math.min(#entry[2], 2 * DEAD_LETTER_FIELDS_MAX)
  append(ids, keys[1], 'wallet', args[2], 'message_id', args[1], 'reason', args[3], unpack(entry[2], 1, kept))
  redis.call('XTRIM', keys[1], 'MAXLEN', '=', args[4])
  redis.call('XDEL', keys[3], args[1])
  redis.pcall('HSET', keys[2], 'last_id', ids.last_id)
  lower_depth(keys[2], 1)
  return 1
end

-- wallet_restore: makes a wallet ready again whose ready message was lost. The caller has looked: a second ready message
-- is harmless (the claim of an empty stream finishes it), a missing one is a wallet that waits for ever.
-- KEYS  ready, meta, wallet stream
-- ARGV  wallet
-- Returns 1 when a ready message was added, 0 when nothing waits.
local function restore(keys, args)
  if redis.call('XLEN', keys[3]) == 0 then return 0 end
  local ids = id_source(server_ms(), last_id_in(keys[2]))
  append(ids, keys[1], 'wallet', args[1])
  redis.pcall('HSET', keys[2], 'last_id', ids.last_id)
  return 1
end

-- wallet_reply: appends outcomes to a gateway's reply key, which lives for a while after its last reply. Neither the
-- append-only file nor a replica gets them: who waits for a reply that a restart has taken finds the outcome in Postgres.
-- KEYS  reply key
-- ARGV  outcomes (JSON array), messages_max, ttl in ms
local function reply(keys, args)
  redis.set_repl(redis.REPL_NONE)
  redis.call('XADD', keys[1], 'MAXLEN', '~', args[2], '*', 'outcomes', args[1])
  return redis.call('PEXPIRE', keys[1], args[3])
end

redis.register_function('wallet_submit', submit)
-- What takes away, or answers, must work in a Redis that is full: otherwise it would stay full.
redis.register_function{function_name = 'wallet_finish', callback = finish, flags = {'allow-oom'}}
redis.register_function{function_name = 'wallet_bury', callback = bury, flags = {'allow-oom'}}
redis.register_function{function_name = 'wallet_restore', callback = restore, flags = {'allow-oom'}}
redis.register_function{function_name = 'wallet_reply', callback = reply, flags = {'allow-oom'}}
redis.register_function{function_name = 'wallet_version', callback = function() return VERSION end, flags = {'no-writes'}}
