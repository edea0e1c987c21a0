/**
 * Scripts in Lua, each of which Redis runs in one step. A device's row is one field of a hash:
 *
 *   version \n time \n heart rate \n breath rate \n vitals \n times of vitals      times in Unix microseconds
 *   version                                                                        a tombstone: the device was erased
 *
 * `version` is where PostgreSQL's log ended under the lock of the row, so it only grows. Four sorted sets hold the
 * orders. Redis breaks ties by the bytes of the member, which is the ascending order of device ids. A value that a
 * device lacks has the score +inf, which no reading has, so it comes last in ascending order.
 */
const KEY = 'vital:latest:'

export const KEYS = {
  rows: `${KEY}rows`,
  /** Devices that batches or erasures under way are about to change, by gateway and number. */
  intents: `${KEY}intents`,
  /** Gateways that write here, and when they last reported that they live, in Redis' milliseconds. */
  gateways: `${KEY}gateways`,
  /** The same, when they last reported that they lack nothing. */
  whole: `${KEY}whole`,
  /** The PostgreSQL that the rows come from. */
  origin: `${KEY}origin`,
  doubts: `${KEY}doubts`,
  /** Held by the gateway that reads `latest` again. */
  turn: `${KEY}turn`
} as const

/** As `COMMANDS` of broker/cluster/keys.ts, for the copy alone. */
export const COPY_COMMANDS: readonly string[] = [
  'EVALSHA x 0', 'SCRIPT LOAD x', 'TIME',
  'GET vital:x', 'SET vital:x y', 'DEL vital:x', 'UNLINK vital:x', 'INCR vital:x', 'PEXPIRE vital:x 1',
  'HGET vital:x y', 'HMGET vital:x y', 'HGETALL vital:x', 'HKEYS vital:x', 'HEXISTS vital:x y', 'HSET vital:x y z', 'HDEL vital:x y',
  'ZADD vital:x 1 y', 'ZREM vital:x y', 'ZCARD vital:x', 'ZCOUNT vital:x 0 1', 'ZRANGE vital:x 0 1', 'ZREVRANGE vital:x 0 1',
  'ZRANGEBYLEX vital:x - +', 'ZRANGEBYSCORE vital:x 0 1', 'ZREMRANGEBYSCORE vital:x 0 1'
]

/**
 * Changes by scripts are not written to the append-only file: only the process of Redis that made a copy uses it, and 5
 * MB/s would make Redis rewrite the file, with a fork, every ten seconds. Other servers of Redis' protocol may lack
 * `set_repl`.
 */
const NAMES = `
if redis.set_repl then redis.set_repl(redis.REPL_REPLICA) end
local rows, intents, gateways, whole = '${KEYS.rows}', '${KEYS.intents}', '${KEYS.gateways}', '${KEYS.whole}'
local complete, doubts, newest, buried = '${KEY}complete', '${KEYS.doubts}', '${KEY}newest', '${KEY}buried'
local orders = {d = '${KEY}d', t = '${KEY}t', h = '${KEY}h', b = '${KEY}b'}
local function version_of (row) return tonumber(string.match(row, '^%d+')) end`

/**
 * Rows are written by one command a key. An order in which a device keeps its place is not written: finding a place in
 * a sorted set of 100,000 takes 4 to 8 µs, most of the cost of a row.
 */
const WRITE = `${NAMES}
local function parse (row) return string.match(row, '^(%d+)\\n(%d+)\\n([^\\n]*)\\n([^\\n]*)\\n') end
local function add (list, score, device)
  list[#list + 1] = score == '' and '+inf' or score
  list[#list + 1] = device
end
local function send (command, key, list)
  if #list > 0 then redis.call(command, key, unpack(list)) end
end
local top = 0
-- Devices and rows of ARGV in turn, each device once.
local function take (from, to)
  if to < from then return end
  local devices = {}
  for at = from, to, 2 do devices[#devices + 1] = ARGV[at] end
  local known = redis.call('HMGET', rows, unpack(devices))
  local set, d, t, h, b, unburied = {}, {}, {}, {}, {}, {}
  for index, device in ipairs(devices) do
    local row, was = ARGV[from + 2 * index - 1], known[index]
    local version, time, heart, breath = parse(row)
    local number = tonumber(version)
    if number > top then top = number end
    if not was or number > version_of(was) then
      local _, time_was, heart_was, breath_was
      if was then _, time_was, heart_was, breath_was = parse(was) end
      set[#set + 1] = device
      set[#set + 1] = row
      if not time_was then add(d, 0, device) end
      if time ~= time_was then add(t, time, device) end
      if heart ~= heart_was then add(h, heart, device) end
      if breath ~= breath_was then add(b, breath, device) end
      if was and not time_was then unburied[#unburied + 1] = device end
    end
  end
  send('HSET', rows, set)
  send('ZADD', orders.d, d)
  send('ZADD', orders.t, t)
  send('ZADD', orders.h, h)
  send('ZADD', orders.b, b)
  send('ZREM', buried, unburied)
end
local function bury (device, version, at)
  local now = redis.call('HGET', rows, device)
  local number = tonumber(version)
  if number > top then top = number end
  if now and number <= version_of(now) then return end
  redis.call('HSET', rows, device, version)
  for _, order in pairs(orders) do redis.call('ZREM', order, device) end
  redis.call('ZADD', buried, at, device)
end
local function note_newest ()
  if top > tonumber(redis.call('GET', newest) or '0') then redis.call('SET', newest, string.format('%.0f', top)) end
end`

const NOW = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)`

/** ARGV: intent, devices that it names. */
export const INTEND = `${NAMES}
return redis.call('HSET', intents, ARGV[1], ARGV[2])`

/**
 * ARGV: intent, 1 for the last part of its batch, devices and rows. Without the intent no row is written: others have
 * repaired its devices then, and their rows may be newer, or erased.
 */
export const APPLY = `${WRITE}
if redis.call('HEXISTS', intents, ARGV[1]) == 0 then return 0 end
take(3, #ARGV)
if ARGV[2] == '1' then redis.call('HDEL', intents, ARGV[1]) end
note_newest()
return 1`

/** ARGV: number of rows, devices and rows, number of tombstones, those (device, version), intents that are dealt with. */
export const REPAIR = `${WRITE}${NOW}
local at = 2 + 2 * tonumber(ARGV[1])
take(2, at - 1)
local absent = tonumber(ARGV[at])
at = at + 1
for _ = 1, absent do
  bury(ARGV[at], ARGV[at + 1], now)
  at = at + 2
end
for index = at, #ARGV do redis.call('HDEL', intents, ARGV[index]) end
note_newest()
return 1`

/**
 * ARGV: device behind which the rows stand, the last device or nothing for the end, devices and rows of version 0. A
 * missing row is written with that version, so that any row from a gateway is newer.
 * @returns devices that differ, to be read again under the lock of their rows
 */
export const COMPARE = `${WRITE}
local seen, differ = {}, {}
local d, t, h, b = {}, {}, {}, {}
for at = 3, #ARGV, 2 do
  local device, row = ARGV[at], ARGV[at + 1]
  local now = redis.call('HGET', rows, device)
  seen[device] = true
  if not now then take(at, at + 1)
  elseif parse(now) and string.match(now, '\\n.*') == string.match(row, '\\n.*') then
    -- Written to all orders again, in case these lost the device.
    local _, time, heart, breath = parse(row)
    add(d, 0, device)
    add(t, time, device)
    add(h, heart, device)
    add(b, breath, device)
  else differ[#differ + 1] = device end
end
send('ZADD', orders.d, d)
send('ZADD', orders.t, t)
send('ZADD', orders.h, h)
send('ZADD', orders.b, b)
local from = ARGV[1] == '' and '-' or '(' .. ARGV[1]
local to = ARGV[2] == '' and '+' or '[' .. ARGV[2]
for _, device in ipairs(redis.call('ZRANGEBYLEX', orders.d, from, to)) do
  if not seen[device] then differ[#differ + 1] = device end
end
return differ`

/**
 * ARGV: token, doubts before the comparison, Redis' milliseconds before which tombstones are dropped. Called once all
 * of `latest` was compared.
 */
export const COMPLETE = `${NAMES}
local count = redis.call('ZCARD', orders.d)
for _, order in pairs(orders) do if redis.call('ZCARD', order) ~= count then return -1 end end
if (redis.call('GET', doubts) or '0') ~= ARGV[2] then return 0 end
redis.call('SET', complete, ARGV[1])
local old = redis.call('ZRANGEBYSCORE', buried, '-inf', ARGV[3])
for _, device in ipairs(old) do redis.call('HDEL', rows, device) end
redis.call('ZREMRANGEBYSCORE', buried, '-inf', ARGV[3])
return 1`

/** The copy may lack rows: it counts as incomplete until it was compared again. */
export const DOUBT = `${NAMES}
redis.call('DEL', complete)
return redis.call('INCR', doubts)`

/** ARGV: the PostgreSQL that rows will come from. Empties the copy. */
export const EMPTY = `${NAMES}
redis.call('INCR', doubts)
redis.call('UNLINK', complete, newest, buried, rows, orders.d, orders.t, orders.h, orders.b)
redis.call('SET', '${KEYS.origin}', ARGV[1])
return 1`

/**
 * ARGV: gateway that reports that it lives, or nothing; 1 where it lacks nothing.
 * @returns token of a complete copy, newest version, origin, doubts, devices, Redis' milliseconds, gateways and the
 *   milliseconds since their last report, the same since they last lacked nothing, intents
 */
export const BEAT = `${NAMES}${NOW}
if ARGV[1] ~= '' then redis.call('HSET', gateways, ARGV[1], now) end
if ARGV[2] == '1' then redis.call('HSET', whole, ARGV[1], now) end
local function ages_of (key)
  local ages = redis.call('HGETALL', key)
  for at = 2, #ages, 2 do ages[at] = now - ages[at] end
  return ages
end
return {
  redis.call('GET', complete) or '', redis.call('GET', newest) or '0', redis.call('GET', '${KEYS.origin}') or '',
  redis.call('GET', doubts) or '0', redis.call('ZCARD', orders.d), now, ages_of(gateways), ages_of(whole), redis.call('HKEYS', intents)
}`

/** ARGV: gateway that is gone. */
export const LEAVE = `${NAMES}
redis.call('HDEL', gateways, ARGV[1])
redis.call('HDEL', whole, ARGV[1])
return 1`

/**
 * ARGV: token, order (d, t, h, b), asc or desc, offset, count.
 * @returns 0 where the copy is not complete; otherwise the number of devices, then device and row of each on the page
 */
export const PAGE = `${NAMES}
if redis.call('GET', complete) ~= ARGV[1] then return 0 end
local order, offset, count = orders[ARGV[2]], tonumber(ARGV[4]), tonumber(ARGV[5])
local total = redis.call('ZCARD', orders.d)
if redis.call('ZCARD', order) ~= total then
  redis.call('DEL', complete)
  return 0
end
local page = {}
local function add (from, length)
  if length <= 0 then return end
  for _, device in ipairs(redis.call('ZRANGE', order, from, from + length - 1)) do page[#page + 1] = device end
end
if ARGV[3] == 'asc' then add(offset, count)
elseif ARGV[2] == 'd' then page = redis.call('ZREVRANGE', order, offset, offset + count - 1)
else
  -- Descending by value, and ascending by device among equal values: groups of equal values are reversed as a whole.
  -- The members of the first and the last group, which the page may cut, are looked up by rank.
  local known = total - redis.call('ZCOUNT', order, '+inf', '+inf')
  local to = math.min(offset + count, known)
  if offset < to then
    local list = redis.call('ZRANGE', order, known - to, known - 1 - offset, 'WITHSCORES')
    local at = #list - 1
    while at > 0 do
      local score, first = list[at + 1], at
      while first > 2 and list[first - 1] == score do first = first - 2 end
      local length = (at - first) / 2 + 1
      if at == #list - 1 or first == 1 then
        local below = redis.call('ZCOUNT', order, '-inf', '(' .. score)
        local skip = 0
        if at == #list - 1 then skip = offset - (known - below - redis.call('ZCOUNT', order, score, score)) end
        add(below + skip, length)
      else
        for index = first, at, 2 do page[#page + 1] = list[index] end
      end
      at = first - 2
    end
  end
  add(math.max(known, offset), count - #page)
end
local answer = {total}
if #page == 0 then return answer end
local found = redis.call('HMGET', rows, unpack(page))
for index, device in ipairs(page) do
  local row = found[index]
  if not row or not string.find(row, '\\n', 1, true) then
    redis.call('DEL', complete)
    return 0
  end
  answer[#answer + 1] = device
  answer[#answer + 1] = row
end
return answer`
