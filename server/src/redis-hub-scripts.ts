/**
 * Lua scripts for the instances of a user in one Redis Cluster slot: KEYS[1] is the prefix `<prefix>hub:{<principal>}:`. The
 * Redis keys with this prefix are `all` (set of instances), `at:<instance>` (hash: epoch, sequence number, node, socket and
 * deadline), `mail:<instance>` (stream of the last events, with their sequence numbers as ids), `event:<id>` (an event for
 * several instances), `events` (set of the ids of these events) and `sum` (number of bytes stored since the mailboxes were last
 * emptied). Documented in redis-hub.ts.
 */
import { script } from './redis-connection.js';

const COMMON = `
local base = KEYS[1]
local call = redis.call
local now, instance = tonumber(ARGV[1] or 0), ARGV[2] or ''
local at, mail = base .. 'at:' .. instance, base .. 'mail:' .. instance
local function int(n) return string.format('%.0f', n) end
local function extend(deadline)
  local ends = math.max(deadline, tonumber(call('HGET', at, 'deadline') or 0))
  call('HSET', at, 'deadline', int(ends))
  for _, key in ipairs({ at, base .. 'all' }) do call('PEXPIRE', key, int(ends - now + 60000)) end
end
-- false when the user has too many instances
local function live(epoch, max)
  if call('EXISTS', at) == 0 then
    if call('SCARD', base .. 'all') >= max then
      for _, other in ipairs(call('SMEMBERS', base .. 'all')) do
        if call('EXISTS', base .. 'at:' .. other) == 0 then call('SREM', base .. 'all', other) end
      end
      if call('SCARD', base .. 'all') >= max then return false end
    end
    call('DEL', mail)
    call('HSET', at, 'epoch', epoch, 'seq', '0', 'node', '', 'socket', '')
    call('SADD', base .. 'all', instance)
  end
  return true
end
`;

const lua = (source: string) => script(COMMON + source);

/**
 * Makes a socket the current socket of its instance. ARGV: now, instance, epoch for a new instance, deadline, node, socket,
 * lowest sequence number to continue from, maximum number of instances. Returns the epoch, the sequence number, and the
 * previous node and socket; returns false if the user has too many instances.
 */
export const OPEN = lua(`
if not live(ARGV[3], tonumber(ARGV[8])) then return false end
if tonumber(call('HGET', at, 'seq')) < tonumber(ARGV[7]) then call('HSET', at, 'seq', ARGV[7]) end
local was = call('HMGET', at, 'epoch', 'seq', 'node', 'socket')
call('HSET', at, 'node', ARGV[5], 'socket', ARGV[6])
extend(tonumber(ARGV[4]))
return was
`);

/**
 * Records that an instance is alive, because its current socket is alive or it made a call over HTTP. ARGV: now, instance,
 * epoch for a new instance, deadline, socket or empty string, maximum number of instances. Returns the epoch, sequence number
 * and socket; returns false if the user has too many instances.
 */
export const TOUCH = lua(`
if not live(ARGV[3], tonumber(ARGV[6])) then return false end
local socket = call('HGET', at, 'socket')
if ARGV[5] == '' or socket == '' or socket == ARGV[5] then extend(tonumber(ARGV[4])) end
return call('HMGET', at, 'epoch', 'seq', 'socket')
`);

/**
 * Records that a socket closed. ARGV: now, instance, socket, deadline. Returns 1 if the socket was the current socket of its
 * instance, otherwise 0.
 */
export const CLOSE = lua(`
if call('HGET', at, 'socket') ~= ARGV[3] then return 0 end
call('HSET', at, 'node', '', 'socket', '', 'deadline', ARGV[4])
extend(tonumber(ARGV[4]))
return 1
`);

/**
 * Adds an instance to the publishers of a service. KEYS[2] is the Redis key of the set of publishers. ARGV: now, instance,
 * lifetime of the service in ms, maximum number of instances.
 */
export const PUBLISHED = lua(`
call('SADD', KEYS[2], instance)
call('PEXPIRE', KEYS[2], math.max(1, call('PTTL', KEYS[2]), tonumber(ARGV[3])))
if call('SCARD', KEYS[2]) > tonumber(ARGV[4]) then
  for _, other in ipairs(call('SMEMBERS', KEYS[2])) do
    if call('EXISTS', base .. 'at:' .. other) == 0 then call('SREM', KEYS[2], other) end
  end
end
return 1
`);

/**
 * Deletes an instance if its deadline has passed. ARGV: now, instance. Returns 1 if the instance was deleted, otherwise its
 * deadline.
 */
export const EXPIRE = lua(`
local deadline = call('HGET', at, 'deadline')
if deadline and tonumber(deadline) > now then return deadline end
call('DEL', at, mail)
call('SREM', base .. 'all', instance)
return 1
`);

/**
 * Stores an event, and sends a hint to the nodes that hold the sockets of the recipients. ARGV: now, instance (empty for all
 * instances with a socket), event as JSON, maximum number of events kept, channel prefix, principal, maximum number of bytes
 * kept per user, lifetime of an event in ms, event id, maximum number of recipients of an event for all instances. Returns the
 * number of instances that get the event.
 */
export const PUSH = lua(`
local text, all, targets = ARGV[3], call('SMEMBERS', base .. 'all'), {}
if instance ~= '' then
  if call('EXISTS', at) == 1 then targets[1] = instance end
else
  for _, each in ipairs(all) do
    local socket = call('HGET', base .. 'at:' .. each, 'socket')
    if socket and socket ~= '' and #targets < tonumber(ARGV[10]) then targets[#targets + 1] = each end
  end
end
if #targets == 0 then return 0 end
local sum = base .. 'sum'
if call('HINCRBY', sum, 'bytes', #text) > tonumber(ARGV[7]) then
  -- an instance that has not read this far gets resync: its events have a gap
  for _, each in ipairs(all) do call('DEL', base .. 'mail:' .. each) end
  for _, id in ipairs(call('SMEMBERS', base .. 'events')) do call('DEL', base .. 'event:' .. id) end
  call('DEL', base .. 'events')
  call('HSET', sum, 'bytes', #text)
end
call('PEXPIRE', sum, ARGV[8])
local field, value = 'event', text
if #targets > 1 then
  field, value = 'ref', ARGV[9]
  call('SET', base .. 'event:' .. value, text, 'PX', ARGV[8])
  call('SADD', base .. 'events', value)
  call('PEXPIRE', base .. 'events', ARGV[8])
end
for _, each in ipairs(targets) do
  local seq = call('HINCRBY', base .. 'at:' .. each, 'seq', 1)
  call('XADD', base .. 'mail:' .. each, 'MAXLEN', ARGV[4], seq .. '-0', field, value)
  call('PEXPIRE', base .. 'mail:' .. each, ARGV[8])
  local node = call('HGET', base .. 'at:' .. each, 'node')
  if node ~= '' then call('PUBLISH', ARGV[5] .. node, 'mail ' .. ARGV[6] .. '/' .. each) end
end
return #targets
`);

/** Counts the instances that have a socket. */
export const COUNT_SOCKETS = lua(`
local count = 0
for _, each in ipairs(call('SMEMBERS', base .. 'all')) do
  local socket = call('HGET', base .. 'at:' .. each, 'socket')
  if socket and socket ~= '' then count = count + 1 end
end
return count
`);
