/**
 * Tests two servers that share a Redis: two publishers use one server and the joiners use the other, while servers and Redis
 * are killed and a publisher is suspended. Every handshake must complete, no answer may be lost, and no answer may reach both
 * publishers. RONDEVU_NODES=full runs 200 handshakes per test.
 */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { after, before, describe, it, type TestContext } from 'node:test';
import WebSocket from 'ws';
import { DEFAULT_CONNECTION_CONFIG } from '../../src/connection/connection-config.js';
import { RondevuError } from '../../src/errors.js';
import { RondevuAPI } from '../../src/signaling/rondevu-api.js';
import { SignalingClient } from '../../src/signaling/signaling-client.js';
import { startBalancer, type Balancer } from '../support/balancer.js';
import { RedisProcess, redisMissing } from '../support/redis.js';
import { ServerProcess } from '../support/site.js';
import { until } from '../support/until.js';

const FULL = process.env['RONDEVU_NODES'] === 'full';
const HANDSHAKES = FULL ? 200 : 60;
const AT_ONCE = 10;

interface Answered {
  instance: string;
  offerId: string;
  answererId: string;
  sdp: string;
}

describe('two servers that share a Redis', { skip: redisMissing() ?? false }, () => {
  // with `everysec`, Redis loses acknowledged writes if it is killed before the next fsync
  const redis = new RedisProcess('--appendfsync', 'always');
  let nodes: [ServerProcess, ServerProcess];
  /** The first balancer prefers the first server, and the second balancer prefers the second server. */
  let balancers: [Balancer, Balancer];
  let names = 0;

  before(async () => {
    await redis.start();
    nodes = [new ServerProcess({ REDIS_URL: redis.url }), new ServerProcess({ REDIS_URL: redis.url })];
    for (const node of nodes) await node.start();
    const [first, second] = nodes;
    balancers = [await startBalancer(() => [first.url, second.url]), await startBalancer(() => [second.url, first.url])];
  });
  after(async () => {
    for (const each of [...balancers, ...nodes, redis]) await each.close();
  });

  /** Starts processes that publish one service on the first server, and collects the answers that they receive. */
  async function startPublishers(t: TestContext, count: number, pool: number) {
    const username = `host-${++names}`;
    const { privateKey, publicKey } = await RondevuAPI.generateKeypair();
    const serviceFqn = `nodes:1.0.0@${username}`;
    const answers: Answered[] = [];
    const processes: ChildProcess[] = [];
    for (let i = 0; i < count; i++) {
      const args = [balancers[0].url, username, privateKey, publicKey, serviceFqn, String(pool)];
      const child = spawn(process.execPath, ['--import', 'tsx', 'test/server/publisher.ts', ...args], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      processes.push(child);
      t.after(() => void child.kill('SIGKILL'));
      let isReady = false;
      let rest = '';
      child.stdout.on('data', (data: Buffer) => {
        const lines = (rest + String(data)).split('\n');
        rest = lines.pop()!;
        for (const line of lines) {
          if (line.includes('"ready"')) isReady = true;
          else answers.push(JSON.parse(line) as Answered);
        }
      });
      await until(() => isReady, 'a publisher to be ready');
    }
    return { serviceFqn, answers, processes };
  }

  interface Join {
    username: string;
    /** Ids of the offers for which the answer of the joiner was accepted. */
    answered: string[];
    /** Offers leased to the joiner, and the period for which the joiner relied on each lease. */
    held: { offerId: string; from: number; until: number }[];
    /** Number of answers refused because another joiner had answered first. */
    late: number;
  }

  /** Joins with a new key, and retries like the engine until `taken` arrives. */
  async function join(serviceFqn: string, balancer = balancers[1]): Promise<Join> {
    const username = `joiner-${++names}`;
    const api = new RondevuAPI(balancer.url, username, await RondevuAPI.generateKeypair(), undefined, false);
    const client = new SignalingClient(api, WebSocket as unknown as typeof globalThis.WebSocket);
    const done: Join = { username, answered: [], held: [], late: 0 };
    try {
      for (;;) {
        const offer = await again(() => client.findOffer(serviceFqn, 60_000, () => undefined, new AbortController().signal));
        const sdp = `answer of ${username} to ${offer.offerId}`;
        const hold = { offerId: offer.offerId, from: performance.now(), until: Infinity };
        done.held.push(hold);
        let isTaken = false;
        const handlers = { onCandidates: () => undefined, onTaken: () => (isTaken = true) };
        const stop = client.watch(offer.offerId, offer.serviceFqn, true, handlers, DEFAULT_CONNECTION_CONFIG);
        try {
          await again(() => client.answerOffer(offer, sdp));
        } catch (error) {
          stop();
          if ((error as RondevuError).code === 'already-answered') done.late++;
          if (['already-answered', 'offer-gone'].includes((error as RondevuError).code)) continue;
          throw error;
        } finally {
          hold.until = performance.now();
        }
        done.answered.push(offer.offerId);
        const end = Date.now() + 4000;
        while (!isTaken && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 5));
        stop();
        if (isTaken) return done;
      }
    } finally {
      client.close();
    }
  }

  /** Runs handshakes, AT_ONCE at a time, and calls `disturb` when a third and when two thirds of them are done. */
  async function handshakes(t: TestContext, disturb: (processes: ChildProcess[], time: number) => Promise<void>): Promise<void> {
    const { serviceFqn, answers, processes } = await startPublishers(t, 2, 5);
    const joins: Join[] = [];
    const marks = [1, 2].map((third) => Math.round((HANDSHAKES * third) / 3));
    let [begun, disturbed] = [0, Promise.resolve()];
    const joinOn = async (): Promise<void> => {
      while (begun < HANDSHAKES) {
        begun++;
        joins.push(await join(serviceFqn));
        if (joins.length === marks[0]) {
          const time = 3 - marks.length;
          marks.shift();
          disturbed = disturbed.then(() => disturb(processes, time));
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, joinOn));
    await disturbed;
    assert.equal(joins.length, HANDSHAKES);
    const acknowledged = joins.flatMap(({ username, answered }) => answered.map((offerId) => ({ username, offerId })));
    await until(
      () => acknowledged.every(({ offerId }) => answers.some((answer) => answer.offerId === offerId)),
      'every acknowledged answer to arrive',
    );
    for (const { username, offerId } of acknowledged) {
      const got = answers.filter((answer) => answer.offerId === offerId);
      assert.equal(got.length, 1, `the answer to ${offerId} reached ${got.length}`);
      assert.equal(got[0]!.answererId, username);
      assert.equal(got[0]!.sdp, `answer of ${username} to ${offerId}`);
    }
    const both = new Set(answers.map(({ instance }) => instance));
    assert.equal(both.size, 2, 'both publishers were answered');
    t.diagnostic(`${joins.length} handshakes with ${acknowledged.length} answers`);
  }

  const options = { timeout: 300_000 };
  it('handshakes complete across both servers', options, (t) => handshakes(t, async () => undefined));

  it('all handshakes complete when first the publishers’ server and then the joiners’ server is killed', options, (t) =>
    handshakes(t, async (_processes, time) => {
      const node = nodes[time - 1]!;
      await node.stop('SIGKILL');
      await new Promise((resolve) => setTimeout(resolve, 1000));
      await node.start();
    }),
  );

  it('all handshakes complete when Redis is killed and restarted', options, (t) =>
    handshakes(t, async () => {
      await redis.kill();
      await new Promise((resolve) => setTimeout(resolve, 1000));
      await redis.start();
    }),
  );

  it('500 concurrent joiners each get an offer from a pool of 5', options, async (t) => {
    const { serviceFqn } = await startPublishers(t, 1, 5);
    const joins = await Promise.all(Array.from({ length: 500 }, (_, index) => join(serviceFqn, balancers[index % 2])));
    const held = joins.flatMap((each) => each.held);
    for (const [index, { offerId, from, until: end }] of held.entries()) {
      const again = held.slice(index + 1).filter((other) => other.offerId === offerId && other.from < end && from < other.until);
      assert.equal(again.length, 0, `${offerId} was leased twice at the same time`);
    }
    const late = joins.reduce((sum, each) => sum + each.late, 0);
    assert.equal(late, 0, 'no joiner answered an offer that another joiner had answered');
    t.diagnostic(`${joins.length} joiners, ${held.length} leases`);
  });

  it('all handshakes complete when a publisher is suspended for 5 s', options, (t) =>
    handshakes(t, async (processes, time) => {
      const publisher = processes[time - 1]!;
      publisher.kill('SIGSTOP');
      await new Promise((resolve) => setTimeout(resolve, 5000));
      publisher.kill('SIGCONT');
    }),
  );
});

/** Retries a call that fails because of the network or a restart, as the engine does. */
async function again<T>(call: () => Promise<T>): Promise<T> {
  for (let left = 100; ; left--) {
    try {
      return await call();
    } catch (error) {
      const mayPass = error instanceof RondevuError && ['network', 'timeout', 'unavailable', 'rate-limited'].includes(error.code);
      if (!mayPass || left === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}
