/**
 * Runs a separate Redis server on a free loopback port. Its append-only file in a temporary folder preserves the data when the
 * server is killed and restarted.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { temporaryFolder } from './folders.js';
import { freePort } from './ports.js';

/** Reason why Redis is unavailable; undefined if it is installed. CI requires Redis. */
export function redisMissing(): string | undefined {
  if (process.env['CI'] || spawnSync('redis-server', ['--version']).status === 0) return undefined;
  return 'redis-server is not installed: apt-get install redis-server';
}

export class RedisProcess {
  readonly #folder = temporaryFolder();
  readonly #flags: string[];
  #process: ChildProcess | undefined;
  port = 0;

  /** @param flags additional flags for redis-server */
  constructor(...flags: string[]) {
    this.#flags = flags;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    this.port ||= await freePort();
    const flags = [
      '--port',
      String(this.port),
      '--bind',
      '127.0.0.1',
      '--dir',
      this.#folder,
      '--appendonly',
      'yes',
      '--save',
      '',
    ];
    const redis = spawn('redis-server', [...flags, ...this.#flags], { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#process = redis;
    let said = '';
    await new Promise<void>((resolve, reject) => {
      redis.once('error', (error) => reject(new Error('redis-server is not installed', { cause: error })));
      redis.once('exit', () => reject(new Error(`redis-server ended: ${said}`)));
      redis.stdout.on('data', (data: Buffer) => {
        said += String(data);
        if (said.includes('Ready to accept connections')) resolve();
      });
    });
  }

  async kill(): Promise<void> {
    const redis = this.#process;
    if (redis?.exitCode !== null || redis.signalCode !== null) return;
    redis.kill('SIGKILL');
    await once(redis, 'exit');
  }

  async close(): Promise<void> {
    await this.kill();
  }
}
