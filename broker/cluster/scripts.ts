/**
 * Lua scripts, each run by Redis in one step. Keys are built within the scripts, so a Redis Cluster cannot run them: a
 * cluster of gateways has one Redis, with or without replicas.
 */

/** Gateways and their leases; an empty text: the lease has ended. */
const LIST = `
local list = {}
for _, id in ipairs(redis.call('SMEMBERS', 'vital:gateways')) do
  list[#list + 1] = id
  list[#list + 1] = redis.call('GET', 'vital:lease:' .. id) or ''
end
return list`

const IS_LIVE = `
local function live (id)
  return redis.call('EXISTS', 'vital:lease:' .. id) == 1
end`

/**
 * ARGV: gateway, lease in ms, its statistics. A full Redis refuses a script only if its first write takes memory, so one that
 * takes none comes first, here and in RENEW.
 * @returns the list
 */
export const REGISTER = `
redis.call('DEL', 'vital:lease:' .. ARGV[1])
redis.call('SADD', 'vital:gateways', ARGV[1])
redis.call('SET', 'vital:lease:' .. ARGV[1], ARGV[3], 'PX', ARGV[2])
redis.call('XADD', 'vital:stream:' .. ARGV[1], '*', 'e', '')
${LIST}`

/**
 * ARGV: gateway, lease in ms, its statistics.
 * @returns nothing where it is not registered any more, or another gateway is about to adopt its sessions; else the list
 */
export const RENEW = `
if redis.call('SISMEMBER', 'vital:gateways', ARGV[1]) == 0 then return false end
if redis.call('EXISTS', 'vital:adoption:' .. ARGV[1]) == 1 then return false end
redis.call('PEXPIRE', 'vital:lease:' .. ARGV[1], ARGV[2])
redis.call('SET', 'vital:lease:' .. ARGV[1], ARGV[3], 'PX', ARGV[2])
${LIST}`

/** ARGV: gateway, number of filters that it wants, those, filters that it no longer wants. @returns as RENEW */
export const ANNOUNCE = `
if redis.call('SISMEMBER', 'vital:gateways', ARGV[1]) == 0 then return false end
local key = 'vital:interest:' .. ARGV[1]
local added = tonumber(ARGV[2])
for at = 3, 2 + added do redis.call('SADD', key, ARGV[at]) end
for at = 3 + added, #ARGV do redis.call('SREM', key, ARGV[at]) end
${LIST}`

/** ARGV: gateway. Deletes all keys of it except the records of its clients. */
export const REMOVE = `
local id = ARGV[1]
redis.call('SREM', 'vital:gateways', id)
for _, kind in ipairs({'lease', 'stream', 'interest', 'clients', 'position', 'adoption'}) do
  redis.call('DEL', 'vital:' .. kind .. ':' .. id)
end`

/**
 * ARGV: gateway, client id, principal. Takes a client id that no other gateway has.
 * @returns `{'taken', epoch, session}`, `{'mine', epoch, session}` for one that this gateway has been given or has adopted,
 *   `{'held', owner, principal}`, or `{'dead', owner}` for one whose session is still
 *   to be adopted, or whose will is still to be published
 */
export const CLAIM = `
${IS_LIVE}
local key = 'vital:client:' .. ARGV[2]
local owner = redis.call('HGET', key, 'o')
local session = redis.call('HGET', key, 'm')
if owner == ARGV[1] then return {'mine', redis.call('HGET', key, 'e'), session or ''} end
if owner and owner ~= '' then
  if live(owner) then return {'held', owner, redis.call('HGET', key, 'p') or 'null'} end
  local isKept = session or redis.call('HEXISTS', key, 'w') == 1
  if isKept and redis.call('SISMEMBER', 'vital:gateways', owner) == 1 then return {'dead', owner} end
  redis.call('SREM', 'vital:clients:' .. owner, ARGV[2])
end
local epoch = redis.call('HINCRBY', key, 'e', 1)
redis.call('HSET', key, 'o', ARGV[1], 'p', ARGV[3])
redis.call('HDEL', key, 'w')
redis.call('SADD', 'vital:clients:' .. ARGV[1], ARGV[2])
return {'taken', epoch, session or ''}`

/**
 * ARGV: gateway, client id, principal, owner and epoch that it knows. For a client that this gateway serves already, and
 * whose record will be written anew.
 * @returns `{'taken', epoch, mine}`, with `mine` 1 where the record was this gateway's still, and 0 where it was not, or
 *   there was none; or `{'held', owner}`
 */
export const RECLAIM = `
${IS_LIVE}
local key = 'vital:client:' .. ARGV[2]
local owner = redis.call('HGET', key, 'o')
local epoch = redis.call('HGET', key, 'e') or '0'
local isMine = owner and (owner == ARGV[1] or (owner == ARGV[4] and epoch == ARGV[5]))
if owner and owner ~= '' and not isMine then
  if live(owner) then return {'held', owner} end
  redis.call('SREM', 'vital:clients:' .. owner, ARGV[2])
end
redis.call('DEL', key)
redis.call('HSET', key, 'o', ARGV[1], 'e', epoch + 1, 'p', ARGV[3])
redis.call('SADD', 'vital:clients:' .. ARGV[1], ARGV[2])
return {'taken', epoch + 1, isMine and 1 or 0}`

/**
 * ARGV: gateway, client id. Takes a client id from any owner. The gateway that had it lives, and publishes its will
 * itself.
 * @returns `{'taken', epoch, session}`
 */
export const FORCE = `
local key = 'vital:client:' .. ARGV[2]
local owner = redis.call('HGET', key, 'o')
if owner then redis.call('SREM', 'vital:clients:' .. owner, ARGV[2]) end
local epoch = redis.call('HINCRBY', key, 'e', 1)
redis.call('HSET', key, 'o', ARGV[1])
redis.call('HDEL', key, 'w')
redis.call('SADD', 'vital:clients:' .. ARGV[1], ARGV[2])
return {'taken', epoch, redis.call('HGET', key, 'm') or ''}`

/** Answer to a write of a gateway whose sessions another one adopts, or has adopted. */
export const IS_ADOPTED = -2

/** Refuses writes of a gateway that another one adopts: its clients send all of it again, so it would come twice. */
const UNLESS_ADOPTED = `
if redis.call('EXISTS', 'vital:adoption:' .. ARGV[1]) == 1 then return ${IS_ADOPTED} end`

/**
 * ARGV: gateway, dead gateway, lock in ms. One gateway adopts at a time; the lock of one that is dead does not count.
 * @returns 1; 0 where another gateway does
 */
export const LOCK_ADOPTION = `
${IS_LIVE}
local key = 'vital:adoption:' .. ARGV[2]
local holder = redis.call('GET', key)
if holder and holder ~= ARGV[1] and live(holder) then return 0 end
redis.call('SET', key, ARGV[1], 'PX', ARGV[3])
return 1`

/**
 * ARGV: gateway, client id, epoch, dead gateway, 1 to keep nothing of the client, fields and values. Takes the session of a
 * dead gateway, and writes all of it anew, in one step: until then everything is in the record and in the stream of the dead
 * gateway, and from then on in the record and in the stream of this one.
 * @returns 1, also where the answer to an earlier attempt was lost; 0 where another gateway has the client, or adopts;
 *   -1 where Redis knows nothing of it; -2 as above
 */
export const ADOPT = `
${UNLESS_ADOPTED}
local key = 'vital:client:' .. ARGV[2]
redis.call('SREM', 'vital:clients:' .. ARGV[4], ARGV[2])
local owner = redis.call('HGET', key, 'o')
if not owner then return -1 end
local epoch = tonumber(redis.call('HGET', key, 'e'))
if owner == ARGV[4] then
  if redis.call('GET', 'vital:adoption:' .. ARGV[4]) ~= ARGV[1] or epoch + 1 ~= tonumber(ARGV[3]) then
    redis.call('SADD', 'vital:clients:' .. ARGV[4], ARGV[2])
    return 0
  end
elseif owner ~= ARGV[1] or epoch ~= tonumber(ARGV[3]) then return 0 end
local principal = redis.call('HGET', key, 'p')
redis.call('DEL', key)
if ARGV[5] == '1' then return 1 end
redis.call('HSET', key, 'o', ARGV[1], 'e', ARGV[3], 'p', principal or 'null')
for at = 6, #ARGV, 2 do redis.call('HSET', key, ARGV[at], ARGV[at + 1]) end
redis.call('SADD', 'vital:clients:' .. ARGV[1], ARGV[2])
return 1`

/**
 * ARGV: gateway, dead gateway, client id. Takes the will of a client out of Redis, to publish it. Without a session
 * nothing is left of the client.
 * @returns the will; nothing where there is none any more; 0 where another gateway adopts
 */
export const TAKE_WILL = `
local key = 'vital:client:' .. ARGV[3]
if redis.call('GET', 'vital:adoption:' .. ARGV[2]) ~= ARGV[1] then return 0 end
if redis.call('HGET', key, 'o') ~= ARGV[2] then return false end
local will = redis.call('HGET', key, 'w')
if redis.call('HEXISTS', key, 'm') == 1 then
  redis.call('HDEL', key, 'w')
else
  redis.call('DEL', key)
  redis.call('SREM', 'vital:clients:' .. ARGV[2], ARGV[3])
end
return will`

/** ARGV: dead gateway, client id. Forgets a client that has no session, or is not that gateway's any more. */
export const FORGET = `
local key = 'vital:client:' .. ARGV[2]
redis.call('SREM', 'vital:clients:' .. ARGV[1], ARGV[2])
if redis.call('HGET', key, 'o') == ARGV[1] and redis.call('HEXISTS', key, 'm') == 0 then redis.call('DEL', key) end`

/**
 * ARGV: gateway, gateway that it is for, most entries of the stream, entry. Only its reader creates a stream, so that
 * the stream of a removed gateway does not come back.
 * @returns its id; nothing where the other gateway was removed; -2 where another gateway adopts, or has adopted, the
 *   sessions of this one
 */
export const ADD = `
${UNLESS_ADOPTED}
if redis.call('SISMEMBER', 'vital:gateways', ARGV[1]) == 0 then return ${IS_ADOPTED} end
return redis.call('XADD', 'vital:stream:' .. ARGV[2], 'NOMKSTREAM', 'MAXLEN', '~', ARGV[3], '*', 'e', ARGV[4])`

/** ARGV: gateway, id of an entry. Entries before it are handled and written. @returns 1, or -2 as above */
export const TRIM = `
${UNLESS_ADOPTED}
redis.call('SET', 'vital:position:' .. ARGV[1], ARGV[2])
redis.call('XTRIM', 'vital:stream:' .. ARGV[1], 'MINID', ARGV[2])
return 1`

const IF_MINE = `
${UNLESS_ADOPTED}
local key = 'vital:client:' .. ARGV[2]
local owner = redis.call('HGET', key, 'o')
if not owner then return -1 end
if owner ~= ARGV[1] or redis.call('HGET', key, 'e') ~= ARGV[3] then return 0 end`

/** ARGV: gateway, client id. The gateway has nothing of the client, also where Redis names it as the owner. */
export const DISCLAIM = `
local key = 'vital:client:' .. ARGV[2]
if redis.call('HGET', key, 'o') == ARGV[1] then redis.call('HSET', key, 'o', '') end
redis.call('SREM', 'vital:clients:' .. ARGV[1], ARGV[2])`

/**
 * ARGV: gateway, client id, epoch, 1 to write all anew, number of fields to delete, those, fields and values.
 * @returns 1; 0 where another gateway has the client, -1 where Redis knows nothing of it, -2 while another gateway adopts
 *   the sessions of this one, here and below
 */
export const SAVE = `
${IF_MINE}
if ARGV[4] == '1' then
  -- A full Redis refuses the first write of a script only if it takes memory, as this one does and DEL does not.
  redis.call('HSET', key, 'o', ARGV[1])
  local principal = redis.call('HGET', key, 'p')
  redis.call('DEL', key)
  redis.call('HSET', key, 'o', ARGV[1], 'e', ARGV[3], 'p', principal or 'null')
end
local deleted = tonumber(ARGV[5])
for at = 6, 5 + deleted do redis.call('HDEL', key, ARGV[at]) end
for at = 6 + deleted, #ARGV, 2 do redis.call('HSET', key, ARGV[at], ARGV[at + 1]) end
redis.call('HDEL', key, 'n')
return 1`

/** ARGV: gateway, client id, epoch. Nothing is kept of the client any more. */
export const DROP = `
${IF_MINE}
redis.call('DEL', key)
redis.call('SREM', 'vital:clients:' .. ARGV[1], ARGV[2])
return 1`

/** ARGV: gateway, client id, epoch, new owner, numbers of the last messages that it has had. @returns its epoch */
export const TRANSFER = `
${IF_MINE}
redis.call('HSET', key, 'o', ARGV[4], 'n', ARGV[5])
-- Its client has come back.
redis.call('HDEL', key, 'w')
redis.call('SREM', 'vital:clients:' .. ARGV[1], ARGV[2])
redis.call('SADD', 'vital:clients:' .. ARGV[4], ARGV[2])
return redis.call('HINCRBY', key, 'e', 1)`

/** ARGV: gateway, topic, most entries of the log, value; without a value the message is removed. @returns its id */
export const RETAIN = `
if ARGV[4] then redis.call('HSET', 'vital:retained', ARGV[2], ARGV[4])
else redis.call('HDEL', 'vital:retained', ARGV[2]) end
return redis.call('XADD', 'vital:retained:log', 'MAXLEN', '~', ARGV[3], '*', 'o', ARGV[1], 't', ARGV[2], 'v', ARGV[4] or '')`

/** ARGV: topic, Unix ms. Forgets a retained message if that one has expired; the first 16 bytes of a value say when. */
export const EXPIRE_RETAINED = `
local value = redis.call('HGET', 'vital:retained', ARGV[1])
if value and tonumber(string.sub(value, 1, 16)) <= tonumber(ARGV[2]) then redis.call('HDEL', 'vital:retained', ARGV[1]) end
return 0`

/**
 * ARGV: tokens refilled each second, tokens of a full bucket, and for each bucket its key and the tokens that were
 * spent since the last call. A debt is at most a full bucket. A bucket is forgotten once it is full.
 * @returns tokens left of each, as text; less than 0 where more was spent
 */
export const SPEND = `
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local perSecond, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local left = {}
for at = 3, #ARGV, 2 do
  local tokens = burst
  local bucket = redis.call('GET', ARGV[at])
  if bucket then
    local before, written = string.match(bucket, '(.+) (.+)')
    tokens = math.min(burst, before + (now - written) * perSecond / 1000)
  end
  tokens = math.max(-burst, tokens - ARGV[at + 1])
  redis.call('SET', ARGV[at], string.format('%.3f %.3f', tokens, now), 'PX', math.ceil((burst - tokens) / perSecond * 1000) + 1)
  left[#left + 1] = string.format('%.3f', tokens)
end
return left`
