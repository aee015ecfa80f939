/**
 * The instances of a user in Redis, in one slot: KEYS[1] is `<prefix>hub:{<username>}:`. Under it `all` (set of instances),
 * `at:<instance>` (hash: life, number, node and socket, and when it is given up) and `mail:<instance>` (stream of its last events,
 * whose ids are their numbers). docs in redis-hub.ts.
 */
import { script } from './redis-connection.js';

const COMMON = `
local base = KEYS[1]
local call = redis.call
local now, instance = tonumber(ARGV[1]), ARGV[2]
local at, mail = base .. 'at:' .. instance, base .. 'mail:' .. instance
local function int(n) return string.format('%.0f', n) end
local function stay(deadline)
  local ends = math.max(deadline, tonumber(call('HGET', at, 'deadline') or 0))
  call('HSET', at, 'deadline', int(ends))
  for _, key in ipairs({ at, mail, base .. 'all' }) do call('PEXPIRE', key, int(ends - now + 60000)) end
end
local function live(epoch)
  if call('EXISTS', at) == 0 then
    call('DEL', mail)
    call('HSET', at, 'epoch', epoch, 'seq', '0', 'node', '', 'socket', '')
    call('SADD', base .. 'all', instance)
  end
end
`;

const lua = (source: string) => script(COMMON + source);

/** A socket takes over. ARGV: now, instance, a new life's name, deadline, node, socket, the least number to go on from. Returns life, number, and the node and socket before. */
export const OPEN = lua(`
live(ARGV[3])
if tonumber(call('HGET', at, 'seq')) < tonumber(ARGV[7]) then call('HSET', at, 'seq', ARGV[7]) end
local was = call('HMGET', at, 'epoch', 'seq', 'node', 'socket')
call('HSET', at, 'node', ARGV[5], 'socket', ARGV[6])
stay(tonumber(ARGV[4]))
return was
`);

/** A sign of life, of the socket that counts or over HTTP. ARGV: now, instance, a new life's name, deadline, socket or empty. Returns life, number, socket. */
export const SEEN = lua(`
live(ARGV[3])
local socket = call('HGET', at, 'socket')
if ARGV[5] == '' or socket == '' or socket == ARGV[5] then stay(tonumber(ARGV[4])) end
return call('HMGET', at, 'epoch', 'seq', 'socket')
`);

/** A socket ended. ARGV: now, instance, socket, deadline. Returns whether it was the one that counts. */
export const CLOSE = lua(`
if call('HGET', at, 'socket') ~= ARGV[3] then return 0 end
call('HSET', at, 'node', '', 'socket', '', 'deadline', ARGV[4])
stay(tonumber(ARGV[4]))
return 1
`);

/** Gives an instance up if its time is over. ARGV: now, instance. Returns 1, or when its time is over. */
export const GIVE_UP = lua(`
local deadline = call('HGET', at, 'deadline')
if deadline and tonumber(deadline) > now then return deadline end
call('DEL', at, mail)
call('SREM', base .. 'all', instance)
return 1
`);

/** Keeps an event, and hints to the node that has the socket. ARGV: now, instance, event as JSON, how many are kept, channel prefix, username, how many bytes are kept. Returns whether the instance is known. */
export const PUSH = lua(`
if call('EXISTS', at) == 0 then return 0 end
local seq = call('HINCRBY', at, 'seq', 1)
if call('HINCRBY', at, 'bytes', #ARGV[3]) > tonumber(ARGV[7]) then
  -- who has not read so much is told to ask for everything: there is a gap now
  call('DEL', mail)
  call('HSET', at, 'bytes', #ARGV[3])
end
call('XADD', mail, 'MAXLEN', ARGV[4], seq .. '-0', 'event', ARGV[3])
if call('PTTL', mail) < 0 then call('PEXPIRE', mail, call('PTTL', at)) end
local node = call('HGET', at, 'node')
if node ~= '' then call('PUBLISH', ARGV[5] .. node, 'mail ' .. ARGV[6] .. '/' .. instance) end
return 1
`);
