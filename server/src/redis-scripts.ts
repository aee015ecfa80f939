/**
 * The atomic operations of the Redis store, as Lua scripts. The Redis keys of a script begin with KEYS[1], which has the
 * service name as its hash tag. A script that writes on behalf of a user also gets the Redis key of the claim to the username
 * as KEYS[2], and writes nothing if a different public key holds the username. Times are passed as arguments. Redis keys expire
 * one second after their content.
 *
 * The Redis keys with the prefix `<prefix>{name}:` are `service:<fqn>` (hash), `metadata:<fqn>` (JSON, until the service ends),
 * `live` and `of:<user>` (fqns by expiry), `free:<fqn>` (offers by arrival time), `answered:<fqn>` (offers by expiry),
 * `offer:<id>` (hash) and `candidates:<id>` (user and text to time, role, expiry).
 */
import { script } from './redis-connection.js';

const COMMON = `
local base = KEYS[1]
local call = redis.call
local function int(n) return string.format('%.0f', n) end
local function keep(key, ms)
  if call('PTTL', key) < ms + 1000 then call('PEXPIRE', key, int(ms + 1000)) end
end
-- whether a key other than this one holds the username claimed in KEYS[2]
local function taken(key, now)
  local claim = call('HMGET', KEYS[2], 'publicKey', 'expiresAt')
  return claim[1] and claim[1] ~= key and tonumber(claim[2]) > now
end
local function drop(fqn, id)
  call('DEL', base .. 'offer:' .. id, base .. 'candidates:' .. id)
  call('ZREM', base .. 'free:' .. fqn, id)
  call('ZREM', base .. 'answered:' .. fqn, id)
end
`;

/** Number of offers that READ_SERVICES reads before it stops examining services. */
const MAX_READ = 200;

const lua = (source: string) => script(COMMON + source);

/**
 * Publishes a service and its offers. ARGV: now, ttl, maxFree, memory, fqn, username, public key, name, version, hidden,
 * metadata, id for a new service, instance, then id, sdp and `for` of each offer. Returns the service, the offers and the ids
 * of the trimmed offers, or false if the username is taken.
 */
export const PUBLISH = lua(`
local now, ttl, maxFree, memory = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local fqn, username, hidden, instance = ARGV[5], ARGV[6], ARGV[10], ARGV[13]
local service, free = base .. 'service:' .. fqn, base .. 'free:' .. fqn
if taken(ARGV[7], now) then return false end
local offers, trimmed = {}, {}
local holder = call('HGET', service, 'publicKey')
if holder and holder ~= ARGV[7] then
  -- the id and the offers belong to the previous holder of the username
  for _, set in ipairs({ free, base .. 'answered:' .. fqn }) do
    for _, id in ipairs(call('ZRANGE', set, 0, -1)) do
      drop(fqn, id)
      trimmed[#trimmed + 1] = id
    end
  end
  call('DEL', service)
end
local ends = now + ttl
local serviceEnds = math.max(ends, tonumber(call('HGET', service, 'expiresAt') or 0))
if call('EXISTS', service) == 0 then
  call('HSET', service, 'serviceId', ARGV[12], 'createdAt', int(now), 'username', username, 'name', ARGV[8], 'version', ARGV[9], 'serviceFqn', fqn)
end
call('HSET', service, 'publicKey', ARGV[7], 'hidden', hidden, 'expiresAt', int(serviceEnds))
call('HDEL', service, 'metadata')
local metadata = base .. 'metadata:' .. fqn
if ARGV[11] == '' then call('DEL', metadata) else call('SET', metadata, ARGV[11], 'PX', int(serviceEnds - now + 1000)) end
keep(service, serviceEnds - now + memory)
for _, index in ipairs({ base .. 'live', base .. 'of:' .. username }) do
  call('ZREMRANGEBYSCORE', index, '-inf', int(now))
  if hidden == '1' then call('ZREM', index, fqn) else call('ZADD', index, int(serviceEnds), fqn) end
  if call('EXISTS', index) == 1 then keep(index, serviceEnds - now) end
end
for i = 14, #ARGV, 3 do
  local id = ARGV[i]
  local offer = base .. 'offer:' .. id
  local old = call('HGET', offer, 'expiresAt')
  if old and tonumber(old) > now then
    -- an answered offer has its own, shorter expiry
    if call('HEXISTS', offer, 'answerSdp') == 0 then call('HSET', offer, 'expiresAt', int(math.max(tonumber(old), ends)), 'publishedAt', int(now)) end
  else
    drop(fqn, id)
    call('HSET', offer, 'offerId', id, 'serviceId', call('HGET', service, 'serviceId'), 'serviceFqn', fqn, 'username', username, 'publicKey', ARGV[7],
      'instance', instance, 'sdp', ARGV[i + 1], 'for', ARGV[i + 2], 'createdAt', int(now), 'publishedAt', int(now),
      'expiresAt', int(ends), 'leaseUntil', '0')
    call('ZADD', free, int(now), id)
  end
  keep(offer, ends - now)
  if call('EXISTS', base .. 'candidates:' .. id) == 1 then keep(base .. 'candidates:' .. id, ends - now) end
  offers[#offers + 1] = call('HGETALL', offer)
end
if call('EXISTS', free) == 1 then keep(free, serviceEnds - now) end
if call('ZCARD', free) > maxFree then
  local count = 0
  for _, id in ipairs(call('ZREVRANGE', free, 0, -1)) do
    local o = call('HMGET', base .. 'offer:' .. id, 'expiresAt', 'leaseUntil')
    local isLive = o[1] and tonumber(o[1]) > now
    if isLive and tonumber(o[2]) <= now then count = count + 1 end
    if not isLive or (tonumber(o[2]) <= now and count > maxFree) then
      drop(fqn, id)
      trimmed[#trimmed + 1] = id
    end
  end
end
return { call('HGETALL', service), offers, trimmed }
`);

/**
 * Leases the best free offer; returns false if there is no such offer. Same order as `Store.lease`. ARGV: now, until,
 * oldFormFresh, fqn, username, instance, a mark that identifies a retried call, principal.
 */
export const LEASE = lua(`
local now, ends, fresh = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local fqn, username, instance = ARGV[4], ARGV[5], ARGV[6]
local holder = ARGV[8]
local best, bestRank, held, heldUntil = nil, 8, nil, nil
for _, id in ipairs(call('ZREVRANGE', base .. 'free:' .. fqn, 0, -1)) do
  local o = call('HMGET', base .. 'offer:' .. id, 'expiresAt', 'leaseUntil', 'instance', 'createdAt', 'for', 'leaseUser', 'username', 'leaseMark')
  if o[8] == ARGV[7] then return call('HGETALL', base .. 'offer:' .. id) end
  if not o[1] or tonumber(o[1]) <= now then
    drop(fqn, id)
  elseif tonumber(o[2]) <= now then
    local isOwn = o[7] == username and o[3] == instance
    if not isOwn and (o[5] == '' or o[5] == holder) then
      local rank = (o[5] == '' and 4 or 0) + (o[2] ~= '0' and 2 or 0) + ((o[3] == '' and tonumber(o[4]) < fresh) and 1 or 0)
      if rank < bestRank then best, bestRank = id, rank end
    end
  elseif instance == '' and o[6] == holder and o[7] ~= username and (not heldUntil or tonumber(o[2]) < heldUntil) then
    held, heldUntil = id, tonumber(o[2])
  end
end
if not best then
  if not held then return false end
  best, ends = held, heldUntil
end
local offer = base .. 'offer:' .. best
local expiresAt = math.max(tonumber(call('HGET', offer, 'expiresAt')), ends + 2000)
call('HSET', offer, 'leaseUser', holder, 'leaseUntil', int(ends), 'expiresAt', int(expiresAt), 'givenAnswerer', '0', 'leaseMark', ARGV[7])
for _, key in ipairs({ offer, base .. 'candidates:' .. best, base .. 'free:' .. fqn }) do
  if call('EXISTS', key) == 1 then keep(key, expiresAt - now) end
end
return call('HGETALL', offer)
`);

/**
 * Returns unanswered, undirected offers in the order in which they are handed out, leased offers last. ARGV: now, oldFormFresh,
 * fqn, limit.
 */
export const LIST = lua(`
local now, fresh, fqn = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local ranked = { {}, {}, {}, {} }
for _, id in ipairs(call('ZREVRANGE', base .. 'free:' .. fqn, 0, -1)) do
  local o = call('HMGET', base .. 'offer:' .. id, 'expiresAt', 'leaseUntil', 'instance', 'createdAt', 'for')
  if o[1] and tonumber(o[1]) > now and o[5] == '' then
    local rank = 1 + (tonumber(o[2]) > now and 2 or 0) + ((o[3] == '' and tonumber(o[4]) < fresh) and 1 or 0)
    table.insert(ranked[rank], id)
  end
end
local result = {}
for _, ids in ipairs(ranked) do
  for _, id in ipairs(ids) do
    if #result < tonumber(ARGV[4]) then result[#result + 1] = call('HGETALL', base .. 'offer:' .. id) end
  end
end
return result
`);

/**
 * Returns live services without their metadata: all services, services with an undirected offer, or services with an offer that
 * LEASE may give to a principal. Examines at least one service, and stops after reading MAX_READ offers, because a script
 * blocks all other clients of Redis. ARGV: now; '', 'all' or a principal; username; instance; then fqns. Returns the field
 * names and values of each service, and the number of fqns examined.
 */
export const READ_SERVICES = lua(`
local now, holder, username, instance = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4]
local fields = { 'serviceId', 'username', 'publicKey', 'name', 'version', 'serviceFqn', 'hidden', 'createdAt', 'expiresAt' }
local result, examined, read = {}, 0, 0
local function isOffering(fqn)
  for _, id in ipairs(call('ZREVRANGE', base .. 'free:' .. fqn, 0, -1)) do
    read = read + 1
    local o = call('HMGET', base .. 'offer:' .. id, 'expiresAt', 'leaseUntil', 'for', 'leaseUser', 'username', 'instance')
    if o[1] and tonumber(o[1]) > now and (o[3] == '' or o[3] == holder) then
      if holder == 'all' then return true end
      local isOwn = o[5] == username
      if tonumber(o[2]) <= now then
        if not (isOwn and o[6] == instance) then return true end
      elseif instance == '' and o[4] == holder and not isOwn then
        return true
      end
    end
  end
  return false
end
for i = 5, #ARGV do
  if read >= ${MAX_READ} then break end
  examined = examined + 1
  local s = call('HMGET', base .. 'service:' .. ARGV[i], unpack(fields))
  if s[1] and tonumber(s[9]) > now and (holder == '' or isOffering(ARGV[i])) then
    local hash = {}
    for j, field in ipairs(fields) do
      hash[#hash + 1] = field
      hash[#hash + 1] = s[j]
    end
    result[#result + 1] = hash
  end
end
return { result, examined }
`);

/**
 * For one service, finds the answered offers that a poll reports on. ARGV: now, since, fqn, side, username, instance, public
 * key, and for the answerer the offer ids. Returns, for each offer, its id, whether it has undelivered data, and the time of
 * its answer; the ids of expired offers; and the number of offers examined.
 */
export const POLL = lua(`
local now, since, fqn, side, username, instance = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local key = ARGV[7]
local isOwner = side == 'offerer'
local ids, found, gone, examined = {}, {}, {}, 0
if isOwner then ids = call('ZRANGE', base .. 'answered:' .. fqn, 0, -1) else
  for i = 8, #ARGV do ids[#ids + 1] = ARGV[i] end
end
for _, id in ipairs(ids) do
  local o = call('HMGET', base .. 'offer:' .. id, 'expiresAt', 'serviceFqn', 'username', 'instance', 'answerUser', 'answerInstance',
    'answeredAt', 'answerGiven', 'givenOfferer', 'givenAnswerer', 'publicKey', 'answerKey')
  local isLive = o[1] and tonumber(o[1]) > now and o[2] == fqn and o[5]
  if not isLive then
    if not isOwner then gone[#gone + 1] = id end
  elseif (isOwner and o[3] == username and o[11] == key and o[4] == instance)
    or (not isOwner and o[5] == username and o[12] == key and o[6] == instance) then
    examined = examined + 1
    local other, role = isOwner and o[5] or o[3], isOwner and 'answerer' or 'offerer'
    local principal = other .. ' ' .. ((isOwner and o[12] or o[11]) or '')
    local given, newest = tonumber((isOwner and o[9] or o[10]) or 0), 0
    local candidates = call('HGETALL', base .. 'candidates:' .. id)
    for i = 1, #candidates, 2 do
      local at, of, ends = string.match(candidates[i + 1], '^(%d+) (%a+) (%d*)$')
      local author = string.match(candidates[i], '^[^\\n]*')
      -- an anonymous author is stored without a key
      if of == role and (author == principal or author == other) and (ends == '' or tonumber(ends) > now) then
        newest = math.max(newest, tonumber(at))
      end
    end
    local isNew = (isOwner and not o[8]) or newest > given
    if isNew or (isOwner and tonumber(o[7]) > since) or newest > math.min(since, given) then
      found[#found + 1] = { id, isNew and '1' or '0', isOwner and o[7] or '0' }
    end
  end
end
return { found, gone, examined }
`);

/**
 * Answers an offer. ARGV: now, memory, fqn, id, username, public key, instance, sdp, principal. Returns a verdict, and the
 * username and public key of the offerer.
 */
export const ANSWER = lua(`
local now, memory, fqn, id, username, sdp = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[8]
local offer, candidates = base .. 'offer:' .. id, base .. 'candidates:' .. id
local o = call('HMGET', offer, 'expiresAt', 'serviceFqn', 'answerSdp', 'answerUser', 'leaseUser', 'username', 'publicKey', 'answerKey',
  'leaseUntil', 'for')
if not o[1] or tonumber(o[1]) <= now or o[2] ~= fqn then return { 'gone', '', '' } end
if taken(ARGV[6], now) then return { 'name-taken', '', '' } end
if o[3] then
  return { (o[3] == sdp and o[4] == username and o[8] == ARGV[6]) and 'repeated' or 'already-answered', o[6], o[7] or '' }
end
local isLeased = tonumber(o[9] or 0) > now and o[5] and o[5] ~= ARGV[9]
if isLeased or (o[10] and o[10] ~= '' and o[10] ~= ARGV[9]) then return { 'reserved', '', '' } end
local expiresAt = now + memory
call('HSET', offer, 'answerSdp', sdp, 'answerUser', username, 'answerKey', ARGV[6], 'answerInstance', ARGV[7], 'answeredAt', int(now), 'expiresAt', int(expiresAt))
if o[5] ~= ARGV[9] then call('HSET', offer, 'givenAnswerer', '0') end
call('ZREM', base .. 'free:' .. fqn, id)
call('ZREMRANGEBYSCORE', base .. 'answered:' .. fqn, '-inf', int(now))
call('ZADD', base .. 'answered:' .. fqn, int(expiresAt), id)
local known = call('HGETALL', candidates)
for i = 1, #known, 2 do
  local at, role, parked = string.match(known[i + 1], '^(%d+) (%a+) (%d*)$')
  if parked ~= '' and tonumber(parked) > now and string.sub(known[i], 1, #ARGV[9] + 1) == ARGV[9] .. '\\n' then
    call('HSET', candidates, known[i], at .. ' ' .. role .. ' ')
  end
end
for _, key in ipairs({ offer, candidates, base .. 'answered:' .. fqn }) do
  if call('EXISTS', key) == 1 then keep(key, expiresAt - now) end
end
return { 'answered', o[6], o[7] or '' }
`);

/** Deletes unanswered offers. ARGV: fqn, username, public key, offer ids. Returns the ids of the deleted offers. */
export const WITHDRAW = lua(`
local fqn, gone = ARGV[1], {}
local s = call('HMGET', base .. 'service:' .. fqn, 'username', 'publicKey')
if s[1] ~= ARGV[2] or s[2] ~= ARGV[3] then return gone end
for i = 4, #ARGV do
  local o = call('HMGET', base .. 'offer:' .. ARGV[i], 'serviceFqn', 'answerSdp')
  if o[1] == fqn and not o[2] then
    drop(fqn, ARGV[i])
    gone[#gone + 1] = ARGV[i]
  end
end
return gone
`);

/**
 * Deletes the unanswered offers of an instance. ARGV: fqn, instance, latest publication time, username, public key (empty for
 * any). Returns the id of the service and the ids of the deleted offers.
 */
export const WITHDRAW_INSTANCE = lua(`
local fqn, gone = ARGV[1], {}
local s = call('HMGET', base .. 'service:' .. fqn, 'serviceId', 'username', 'publicKey')
if s[2] ~= ARGV[4] or (ARGV[5] ~= '' and s[3] ~= ARGV[5]) then return { s[1], gone } end
for _, id in ipairs(call('ZRANGE', base .. 'free:' .. fqn, 0, -1)) do
  local o = call('HMGET', base .. 'offer:' .. id, 'instance', 'publishedAt')
  if not o[1] or (o[1] == ARGV[2] and tonumber(o[2]) <= tonumber(ARGV[3])) then
    drop(fqn, id)
    gone[#gone + 1] = id
  end
end
return { s[1], gone }
`);

/**
 * Deletes a service and its offers. ARGV: fqn, username, public key, and `of` to delete the service if this public key owns it
 * or `besides` if a different public key owns it. Returns the id of the service and the ids of its free offers, or false if the
 * service was not deleted.
 */
export const DELETE_SERVICE = lua(`
local fqn, username = ARGV[1], ARGV[2]
local s = call('HMGET', base .. 'service:' .. fqn, 'username', 'serviceId', 'publicKey')
if s[1] ~= username or (s[3] == ARGV[3]) ~= (ARGV[4] == 'of') then return false end
local free = call('ZRANGE', base .. 'free:' .. fqn, 0, -1)
for _, set in ipairs({ free, call('ZRANGE', base .. 'answered:' .. fqn, 0, -1) }) do
  for _, id in ipairs(set) do drop(fqn, id) end
end
call('DEL', base .. 'service:' .. fqn, base .. 'metadata:' .. fqn)
call('ZREM', base .. 'live', fqn)
call('ZREM', base .. 'of:' .. username, fqn)
return { s[2], free }
`);

/**
 * Deletes a service if it has expired; its offers expire on their own. ARGV: fqn, username, now. Returns the id of the service,
 * or false if it was not deleted.
 */
export const FORGET_SERVICE = lua(`
local service = base .. 'service:' .. ARGV[1]
local s = call('HMGET', service, 'username', 'serviceId', 'expiresAt')
if s[1] ~= ARGV[2] or tonumber(s[3]) > tonumber(ARGV[3]) then return false end
call('DEL', service, base .. 'metadata:' .. ARGV[1])
return s[2]
`);

/**
 * Makes the index of an instance expire after `memory` ms, unless the instance has published after `now`. KEYS[1] is the Redis
 * key of the index. ARGV: now, memory, the member whose score is the time of the last publication.
 */
export const SHORTEN = lua(`
local last = call('ZSCORE', base, ARGV[3])
if not last or tonumber(last) <= tonumber(ARGV[1]) then call('PEXPIRE', base, ARGV[2], 'LT') end
return 1
`);

/** Removes expired members of a sorted set. KEYS[1] is the Redis key of the set. ARGV: now, members. */
export const REMOVE_ENDED = lua(`
for i = 2, #ARGV do
  local ends = call('ZSCORE', base, ARGV[i])
  if ends and tonumber(ends) <= tonumber(ARGV[1]) then call('ZREM', base, ARGV[i]) end
end
return 1
`);

/**
 * Adds candidates. ARGV: now, id, principal, role, parkedUntil or empty, max or empty, public key, then the candidates as text.
 * Returns a verdict, followed by the time to wait in ms for `wait`, or by the first timestamp and the new candidates for
 * `added`.
 */
export const ADD_CANDIDATES = lua(`
local now, id, username, role, parked = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local key = base .. 'candidates:' .. id
if call('EXISTS', base .. 'offer:' .. id) == 0 then return { 'gone' } end
if taken(ARGV[7], now) then return { 'name-taken' } end
local all, last, count, known = call('HGETALL', key), 0, 0, {}
for i = 1, #all, 2 do
  local at, _, ends = string.match(all[i + 1], '^(%d+) (%a+) (%d*)$')
  if ends ~= '' and tonumber(ends) <= now then
    -- a parked candidate that has expired may be sent again
    call('HDEL', key, all[i])
  else
    last = math.max(last, tonumber(at))
    known[all[i]] = all[i + 1]
    if string.sub(all[i], 1, #username + 1) == username .. '\\n' then count = count + 1 end
  end
end
local fresh, repeated = {}, {}
for i = 8, #ARGV do
  local list = known[username .. '\\n' .. ARGV[i]] and repeated or fresh
  list[#list + 1] = ARGV[i]
end
if ARGV[6] ~= '' and count + #fresh > tonumber(ARGV[6]) then return { 'too-many' } end
local first = math.max(last + 1, now - #fresh + 1)
local ahead = first + #fresh - 1 - now
if #fresh > 0 and ahead > 0 then return { 'wait', int(ahead) } end
for _, text in ipairs(repeated) do
  local field = username .. '\\n' .. text
  local at, was, ends = string.match(known[field], '^(%d+) (%a+) (%d*)$')
  if ends ~= '' then call('HSET', key, field, at .. ' ' .. was .. ' ' .. parked) end
end
for index, text in ipairs(fresh) do
  call('HSET', key, username .. '\\n' .. text, int(first + index - 1) .. ' ' .. role .. ' ' .. parked)
end
if call('EXISTS', key) == 1 then keep(key, math.max(10000, call('PTTL', base .. 'offer:' .. id))) end
return { 'added', int(first), fresh }
`);

/**
 * Returns the candidates that have not been delivered to `side`, or that `side` may not have received. ARGV: now, id, side,
 * since, role, principal. Returns pairs of candidate text and time.
 */
export const TAKE_CANDIDATES = lua(`
local now, id, since, role, username = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[4]), ARGV[5], ARGV[6]
local offer = base .. 'offer:' .. id
local given = tonumber(call('HGET', offer, ARGV[3]) or 0)
local after, newest, found = math.min(since, given), 0, {}
local all = call('HGETALL', base .. 'candidates:' .. id)
for i = 1, #all, 2 do
  local at, of, ends = string.match(all[i + 1], '^(%d+) (%a+) (%d*)$')
  local isHere = of == role and string.sub(all[i], 1, #username + 1) == username .. '\\n' and (ends == '' or tonumber(ends) > now)
  if isHere and tonumber(at) > after then
    newest = math.max(newest, tonumber(at))
    found[#found + 1] = { string.sub(all[i], #username + 2), at }
  end
end
if newest > given and call('EXISTS', offer) == 1 then call('HSET', offer, ARGV[3], int(newest)) end
return found
`);

/**
 * Marks an answer as delivered, unless it is already marked. ARGV: id, mark. Returns the current mark, or false if the offer no
 * longer exists.
 */
export const TAKE_ANSWER = lua(`
local offer = base .. 'offer:' .. ARGV[1]
if call('EXISTS', offer) == 0 then return false end
call('HSETNX', offer, 'answerGiven', ARGV[2])
return call('HGET', offer, 'answerGiven')
`);

/**
 * Claims a username. KEYS[1] is the Redis key of the username. ARGV: now, ends, username, public key, v2. Returns `ok` or
 * `name-taken`.
 */
export const CLAIM_NAME = lua(`
local now, ends = tonumber(ARGV[1]), tonumber(ARGV[2])
local u = call('HMGET', base, 'publicKey', 'expiresAt', 'claimedAt', 'lastV2At')
local isMine = u[1] and tonumber(u[2]) > now
if isMine and u[1] ~= ARGV[4] then return 'name-taken' end
local v2 = ARGV[5] == '1' and int(now) or (isMine and u[4] or '0')
call('HSET', base, 'username', ARGV[3], 'publicKey', ARGV[4], 'claimedAt', isMine and u[3] or int(now), 'expiresAt', int(ends), 'lastV2At', v2)
call('PEXPIRE', base, int(ends - now))
return 'ok'
`);

/**
 * Records which username a public key holds. KEYS[1] is the Redis key for the public key. ARGV: now, ends, username. Returns
 * the username that the public key holds, which may differ from the requested username, and whether the record is new.
 */
export const CLAIM_KEY = lua(`
local k = call('HMGET', base, 'username', 'expiresAt')
if k[1] and k[1] ~= ARGV[3] and tonumber(k[2]) > tonumber(ARGV[1]) then return { k[1], 0 } end
local isNew = k[1] == ARGV[3] and tonumber(k[2]) > tonumber(ARGV[1]) and 0 or 1
call('HSET', base, 'username', ARGV[3], 'expiresAt', ARGV[2])
call('PEXPIRE', base, int(tonumber(ARGV[2]) - tonumber(ARGV[1])))
return { ARGV[3], isNew }
`);

/**
 * Releases a username. KEYS[1] is the Redis key of the username. ARGV: public key. Returns whether the given public key held
 * the username.
 */
export const RELEASE_NAME = lua(`
if call('HGET', base, 'publicKey') ~= ARGV[1] then return 0 end
call('DEL', base)
return 1
`);

/**
 * Deletes the record that a public key holds a username, so that the key can claim a different one. KEYS[1] is the Redis key
 * for the public key. ARGV: username.
 */
export const RELEASE_KEY = lua(`
if call('HGET', base, 'username') == ARGV[1] then call('DEL', base) end
return 1
`);
