/** Runs servers as processes on one core, while the load generator runs on a different core. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';

const SERVER_CORE = '0';
const GENERATOR_CORE = '1';
const hasCores = spawnSync('taskset', ['--version']).status === 0;

/** Pins this process to a core that the servers do not use. */
export function pinGenerator(): void {
  if (hasCores) spawnSync('taskset', ['-acp', GENERATOR_CORE, String(process.pid)]);
  else console.log('without taskset servers and generator share all cores');
}

export interface Child {
  url: string;
  /** Resident memory, excluding garbage and free heap pages, in bytes. */
  memory(): Promise<number>;
  /** Event-loop delay since the last call, in ms; excludes the network and the client. */
  loopDelay(): Promise<{ p95: number; worst: number }>;
  /** CPU time used so far, in s. */
  cpu(): number;
  stop(): Promise<void>;
}

/**
 * Module that, on SIGUSR2, reports the event-loop delay, collects garbage, and reports the memory in use, excluding free heap
 * pages.
 */
const COUNTS = `data:text/javascript,import { monitorEventLoopDelay } from 'node:perf_hooks';
const delay = monitorEventLoopDelay({ resolution: 10 });
delay.enable();
process.on('SIGUSR2', () => {
  const [p95, worst] = [delay.percentile(95), delay.max];
  gc(), gc();
  const { rss, heapTotal, heapUsed } = process.memoryUsage();
  console.log('in use: ' + (rss - heapTotal + heapUsed) + ', delay: ' + p95 / 1e6 + ' ' + worst / 1e6);
  delay.reset();
})`;

/** Starts a server process. @param found pattern that captures the port in the server's output */
export async function start(args: string[], found: RegExp, env: Record<string, string> = {}): Promise<Child> {
  const command = [...(hasCores ? ['taskset', '-c', SERVER_CORE] : []), process.execPath, '--expose-gc', '--import', COUNTS];
  const child: ChildProcess = spawn(command[0]!, [...command.slice(1), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
  });
  const port = await new Promise<string>((resolve, reject) => {
    let said = '';
    child.once('exit', () => reject(new Error(`${args.join(' ')} ended: ${said}`)));
    child.stdout!.on('data', (data: Buffer) => {
      said += String(data);
      const match = found.exec(said)?.[1];
      if (match) resolve(match);
    });
  });
  const report = async (): Promise<number[]> => {
    child.kill('SIGUSR2');
    const [text] = (await once(child.stdout!, 'data')) as [Buffer];
    return /in use: (\S+), delay: (\S+) (\S+)/.exec(String(text))!.slice(1).map(Number);
  };
  return {
    url: `http://127.0.0.1:${port}`,
    async memory() {
      const [bytes] = await report();
      return bytes!;
    },
    async loopDelay() {
      const [, p95, worst] = await report();
      return { p95: p95!, worst: worst! };
    },
    cpu() {
      // fields 14 and 15 in proc(5), in hundredths of a second; the split skips the process name in parentheses
      const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
      return (Number(fields[11]) + Number(fields[12])) / 100;
    },
    async stop() {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** Disables the limits, because the whole load comes from one address. */
const UNLIMITED = {
  LIMIT_POINTS_PER_ADDRESS: '1000000000',
  LIMIT_POINTS_PER_KEY: '1000000000',
  LIMIT_CLAIMS_PER_ADDRESS: '1000000000',
};

/** Starts our server. @param storage path of a database file, or `:memory:` */
export const startOurs = (storage: string, env: Record<string, string> = {}): Promise<Child> =>
  start(
    ['server/dist/main.js', '--port', '0', '--host', '127.0.0.1', '--storage', storage, '--log-level', 'error'],
    /on http:\/\/[^:]+:(\d+)/,
    { ...UNLIMITED, ...env },
  );

export const startBare = (kind: 'echo' | 'relay' | 'idle' | 'verify' | 'peerjs'): Promise<Child> =>
  start(['--import', 'tsx', 'bench/load/bare.ts', kind], /port (\d+)/);
