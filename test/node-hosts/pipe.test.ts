/**
 * Pipes data through `rondevu connect --raw` while the network cable is pulled twice: the SHA-256 hash stays the same, and
 * neither process holds all the data in memory. RONDEVU_HOSTS=full sends 200 MB, and PIPE_WEBRTC selects a different WebRTC
 * package.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { watch, type Program } from '../support/program.js';
import { until } from '../support/until.js';
import { Namespaces, namespacesMissing } from '../support/namespaces.js';
import { temporaryFolder } from '../support/folders.js';

const FULL = process.env['RONDEVU_HOSTS'] === 'full';
const SIZE = FULL ? 200_000_000 : 40_000_000;
const CUTS = 2;
const CLI = 'dist/src/cli/main.js';
const MEMORY = 64_000_000;

/** Memory use of a process, read from /proc. */
class Memory {
  idle = 0;
  peak = 0;
  readonly #program: Program;

  constructor(program: Program) {
    this.#program = program;
  }

  #status(name: string): number {
    // `ip netns exec` replaces itself with the command, so the process id belongs to Node
    return (
      Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(readFileSync(`/proc/${this.#program.child.pid}/status`, 'utf8'))![1]) * 1024
    );
  }

  /** Measures the memory in use before the transfer, and resets the peak. */
  measureIdle(): void {
    writeFileSync(`/proc/${this.#program.child.pid}/clear_refs`, '5');
    this.idle = this.#status('VmRSS');
  }

  measurePeak(): void {
    try {
      this.peak = Math.max(this.peak, this.#status('VmHWM'));
    } catch {
      // the process has ended
    }
  }
}

test(
  `pipes ${SIZE / 1e6} MB without errors while the network cable is pulled ${CUTS} times`,
  { skip: namespacesMissing(), timeout: 300_000 },
  async (t) => {
    const net = new Namespaces();
    const children: Program[] = [];
    t.after(() => {
      for (const { child } of children) child.kill('SIGKILL');
      net.close();
    });
    const folder = temporaryFolder(t);
    const run = (where: 'one' | 'other', command: string[], env?: Record<string, string>): Program => {
      const started = watch(net.run(where, command, env));
      children.push(started);
      return started;
    };
    const url = `http://${net.addresses.one}:3000`;
    const env = { RONDEVU_SERVER: url, XDG_CONFIG_HOME: folder };
    const webrtc = ['--webrtc', process.env['PIPE_WEBRTC'] ?? 'node-datachannel'];
    const server = run('one', ['node', 'server/dist/main.js', '--port', '3000', '--host', '0.0.0.0', '--storage', ':memory:']);
    await until(() => server.out().includes('Rondevu server on'), 'the server to listen');
    const host = run('one', ['node', CLI, 'host', 'sum:1.0.0', '-u', 'sum', '--exec', 'sha256sum', ...webrtc], env);
    await until(() => host.out().includes('is live'), 'the host to be live');
    const joiner = run('other', ['node', CLI, 'connect', 'sum:1.0.0@sum', '--raw', '--progress', ...webrtc], env);
    await until(() => host.out().includes('joined'), 'the joiner to have joined');
    await pause(1000);
    const memory = { host: new Memory(host), joiner: new Memory(joiner) };
    for (const each of Object.values(memory)) each.measureIdle();
    const sampling = setInterval(() => Object.values(memory).forEach((each) => each.measurePeak()), 50);

    const hash = createHash('sha256');
    const input = joiner.child.stdin!;
    let sent = 0;
    let cuts = 0;
    while (sent < SIZE) {
      const bytes = randomBytes(Math.min(65_536, SIZE - sent));
      hash.update(bytes);
      sent += bytes.length;
      if (!input.write(bytes)) await once(input, 'drain');
      if (cuts < CUTS && sent > (SIZE * (cuts + 1)) / (CUTS + 1)) {
        cuts++;
        net.pull();
        // back-pressure pauses the pipe until the cable is plugged in again
        void pause(8000).then(() => net.plug());
      }
    }
    input.end();
    assert.deepEqual(await joiner.ended, [0, null], `${joiner.err()}\n${host.output()}`);
    clearInterval(sampling);
    assert.equal(joiner.out(), `${hash.digest('hex')}  -\n`);
    assert.equal(cuts, CUTS);
    for (const [name, each] of Object.entries(memory)) {
      const above = each.peak - each.idle;
      t.diagnostic(`${name}: idle ${(each.idle / 1e6).toFixed(1)} MB, ${(above / 1e6).toFixed(1)} MB above it at the most`);
      assert.ok(above <= MEMORY, `${name} was ${above} bytes above idle`);
    }
    assert.match(joiner.err(), /100? %|MiB sent/);
    host.child.kill('SIGINT');
    assert.deepEqual(await host.ended, [0, null]);
  },
);
