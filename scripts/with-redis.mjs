// Runs a command with its own Redis server, whose URL is in RONDEVU_TEST_REDIS.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { RedisProcess } from '../test/support/redis.ts';

const redis = new RedisProcess();
await redis.start();
const [command, ...args] = process.argv.slice(2);
const child = spawn(command, args, { stdio: 'inherit', env: { ...process.env, RONDEVU_TEST_REDIS: redis.url } });
const [code] = await once(child, 'exit');
await redis.close();
process.exit(code ?? 1);
