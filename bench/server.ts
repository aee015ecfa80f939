/**
 * Compares the signaling server on one core with bare servers in the same run: session calls with a `ws` echo server, signed
 * HTTP calls with a server that only verifies signatures, the time from answer to push with a relay at the same rate, and idle
 * sockets. Also measures `/health` during a batch of 100 calls, and two nodes that share one Redis.
 * Usage: `npm run bench -- server [measure …]`.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Client,
  PushClient,
  newInstance,
  openSessionFrame,
  PushSocket,
  signOld,
  signV2,
  someone,
} from '../test/server/helpers.ts';
import { median } from '../test/support/median.ts';
import { RedisProcess, redisMissing } from '../test/support/redis.ts';
import { SDP, handshake, openClient, openHosts } from './load/clients.ts';
import { BareSocket, atRate, percentile, postBody, throughput } from './load/generator.ts';
import { pinGenerator, startBare, startOurs, type Child } from './load/processes.ts';

const LANES = 200;
const WINDOW = 1;
const TIME = 3000;
const ROUNDS = 3;
const SOCKETS = Number(process.env['BENCH_SOCKETS'] ?? 10_000);

const folder = mkdtempSync(join(tmpdir(), 'rondevu-bench-'));
let files = 0;
const file = (): string => join(folder, `${++files}.db`);
const print = (name: string, text: string): void => console.log(`${name}: ${text}`);
const round = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));

async function calls(): Promise<void> {
  const kinds: [string, number, (lane: { host: PushClient; fqn: string }, index: number) => Promise<unknown>][] = [
    ['publishService to a file', 0.08, ({ host, fqn }, index) => host.publish(fqn, [`${SDP}${index}`], { ttl: 5000 })],
    ['poll', 0.2, ({ host }) => host.call('poll', {})],
    ['getUser', 0.2, ({ host }) => host.call('getUser', { username: host.username })],
    ['getService, a page', 0.2, ({ host, fqn }) => host.call('getService', { serviceFqn: fqn, limit: 1 }).catch(() => undefined)],
  ];
  const ratios = kinds.map((): number[] => []);
  const rates = kinds.map((): number[] => []);
  const echoes: number[] = [];
  for (let turn = 0; turn < ROUNDS; turn++) {
    const bare = await startBare('echo');
    const sockets = await Promise.all(Array.from({ length: LANES }, () => BareSocket.open(bare.url)));
    const echo = await throughput(LANES, WINDOW, TIME, (lane) =>
      sockets[lane]!.echo(`{"id":1,"method":"poll","params":{"since":${lane}}}`),
    );
    echoes.push(echo);
    for (const { socket } of sockets) socket.terminate();
    await bare.stop();
    const ours = await startOurs(file());
    const hosts = await openHosts(ours.url, LANES);
    let index = 0;
    for (const [kind, [, , call]] of kinds.entries()) {
      const rate = await throughput(LANES, WINDOW, TIME, (lane) => call(hosts[lane]!, index++));
      rates[kind]!.push(rate);
      ratios[kind]!.push(rate / echo);
    }
    for (const { host } of hosts) host.socket.terminate();
    await ours.stop();
  }
  print('ws echo', `${round(median(echoes))} /s`);
  for (const [kind, [name, wanted]] of kinds.entries())
    print(name, `${round(median(rates[kind]!))} /s, ${median(ratios[kind]!).toFixed(3)} x echo (wanted ${wanted})`);
}

async function signed(): Promise<void> {
  const ratios: number[] = [];
  const [ourRates, bareRates]: [number[], number[]] = [[], []];
  const COUNT = 4000;
  for (let turn = 0; turn < ROUNDS; turn++) {
    const [bare, ours] = [await startBare('verify'), await startOurs(file())];
    const measure = async (server: Child): Promise<number> => {
      const clients = Array.from({ length: LANES }, () => someone('signer'));
      for (const one of clients) await postBody(`${server.url}/rpc`, JSON.stringify(signV2(one, 'poll', {}, server.url)));
      const bodies = Array.from({ length: COUNT }, (_, index) =>
        JSON.stringify(signV2(clients[index % LANES]!, 'poll', {}, server.url)),
      );
      const start = performance.now();
      let next = 0;
      const lane = async (): Promise<void> => {
        while (next < COUNT) {
          const text = await postBody(`${server.url}/rpc`, bodies[next++]!);
          if (!text.includes('"success":true')) throw new Error(text);
        }
      };
      await Promise.all(Array.from({ length: LANES }, lane));
      return (COUNT * 1000) / (performance.now() - start);
    };
    const [our, other] = [await measure(ours), await measure(bare)];
    ourRates.push(our);
    bareRates.push(other);
    ratios.push(our / other);
    await bare.stop();
    await ours.stop();
  }
  print(
    'signed HTTP',
    `${round(median(ourRates))} /s, ${median(ratios).toFixed(2)} x a server that only verifies (${round(median(bareRates))} /s; wanted 0.6)`,
  );
}

async function handshakes(): Promise<void> {
  const [ourTails, theirTails]: [number[], number[]] = [[], []];
  const report: string[] = [];
  // tail latencies vary more between rounds than rates do
  for (let turn = 0; turn < 5; turn++) {
    const ours = await startOurs(file());
    const hosts = await openHosts(ours.url, LANES);
    const joiners = await Promise.all(Array.from({ length: LANES }, () => openClient(ours.url, 'joiner')));
    let id = 0;
    const most = await throughput(LANES, 2, TIME, (lane) => handshake(hosts[lane]!.host, hosts[lane]!.fqn, joiners[lane]!, id++));
    const delays: number[] = [];
    await atRate(most / 2, TIME, async (index) => {
      const lane = index % LANES;
      delays.push(await handshake(hosts[lane]!.host, hosts[lane]!.fqn, joiners[lane]!, id++));
    });
    const bare = await startBare('relay');
    const [from, to] = [await BareSocket.open(bare.url), await BareSocket.open(bare.url)];
    to.socket.send('name host');
    const sent = new Map<string, number>();
    const relayed: number[] = [];
    to.onText = (text) => relayed.push(performance.now() - sent.get(text.slice(-8))!);
    await atRate(most / 2, TIME, async (index) => {
      const mark = String(index).padStart(8, '0');
      sent.set(mark, performance.now());
      from.socket.send(`host ${SDP}${mark}`);
    });
    await new Promise((resolve) => setTimeout(resolve, 500));
    ourTails.push(percentile(delays, 0.99));
    theirTails.push(percentile(relayed, 0.99));
    report.push(`${round(most)} /s; p99 ${round(percentile(delays, 0.99))} ms, relay ${round(percentile(relayed, 0.99))} ms`);
    for (const { host } of hosts) host.socket.terminate();
    await ours.stop();
    await bare.stop();
  }
  print('handshakes over sessions', report.join(' | '));
  print(
    'answer to push at half load',
    `median p99 ${round(median(ourTails))} ms, ${(median(ourTails) / median(theirTails)).toFixed(2)} x a relay at the same rate (${round(median(theirTails))} ms; wanted 5)`,
  );
}

async function oldWire(): Promise<void> {
  const ours = await startOurs(file());
  const host = new Client(ours.url, someone('old'), 'old');
  const fqn = `bench:1.0.0@${host.username}`;
  let id = 0;
  const call = async (
    client: Client,
    method: 'publishService' | 'getService' | 'answerOffer',
    params: object,
  ): Promise<Record<string, string>> => {
    const reply = JSON.parse(await postBody(`${ours.url}/rpc`, JSON.stringify(signOld(client.identity, method, params)))) as {
      result: Record<string, string>;
    };
    return reply.result;
  };
  const rate = await throughput(8, 1, TIME, async (lane) => {
    const [joiner, mine] = [new Client(ours.url, someone('oldjoiner'), 'old'), `${fqn.replace('bench', `bench-${lane}`)}`];
    await call(host, 'publishService', { serviceFqn: mine, offers: [{ sdp: `${SDP}${id++}` }] });
    const offer = await call(joiner, 'getService', { serviceFqn: mine });
    await call(joiner, 'answerOffer', { serviceFqn: mine, offerId: offer['offerId'], sdp: 'answer' });
  });
  await ours.stop();
  const peerjs = await startBare('peerjs');
  const peers = await Promise.all(
    Array.from({ length: 16 }, (_, index) =>
      BareSocket.open(`${peerjs.url}/peerjs?key=peerjs&id=peer${index}&token=token${index}`),
    ),
  );
  // a PeerJS handshake is only an offer and an answer
  const waiting = new Map<number, () => void>();
  for (const [index, peer] of peers.entries()) {
    peer.onText = (text) => {
      if (text.includes('"OFFER"'))
        peer.socket.send(JSON.stringify({ type: 'ANSWER', dst: `peer${index - 8}`, payload: { sdp: SDP } }));
      else if (text.includes('"ANSWER"')) waiting.get(index)?.();
    };
  }
  const theirs = await throughput(8, 1, TIME, (lane) => {
    peers[lane]!.socket.send(JSON.stringify({ type: 'OFFER', dst: `peer${lane + 8}`, payload: { sdp: SDP } }));
    return new Promise<void>((resolve) => waiting.set(lane, resolve));
  });
  await peerjs.stop();
  print(
    'handshakes over the old wire',
    `${round(rate)} /s, three signed calls each, to a file; peerjs-server relays ${round(theirs)} /s, unsigned and in memory`,
  );
}

async function idle(): Promise<void> {
  const cost = async (server: Child, open: () => Promise<void>): Promise<number> => {
    const openMany = async (count: number): Promise<void> => {
      for (let index = 0; index < count; index += 50) await Promise.all(Array.from({ length: 50 }, open));
    };
    // the first sockets use heap memory that is already free after startup
    await openMany(SOCKETS / 5);
    const before = await server.memory();
    await openMany(SOCKETS);
    await new Promise((resolve) => setTimeout(resolve, 12_000)); // wait for the temporary data of calls to expire
    return ((await server.memory()) - before) / SOCKETS;
  };
  const bare = await startBare('idle');
  const opened: { socket: { terminate(): void } }[] = [];
  const other = await cost(bare, async () => void opened.push(await BareSocket.open(bare.url)));
  for (const { socket } of opened.splice(0)) socket.terminate();
  await bare.stop();
  const ours = await startOurs(':memory:');
  const our = await cost(ours, async () => {
    const socket = await new PushSocket(ours.url).connect();
    opened.push(socket);
    await socket.request(openSessionFrame(ours.url, someone('idle'), newInstance()));
  });
  for (const { socket } of opened) socket.terminate();
  await ours.stop();
  print(
    'an idle socket',
    `${round(our / 1024)} KiB, ${(our / other).toFixed(2)} x a bare ws server (${round(other / 1024)} KiB; ${SOCKETS} sockets; wanted 2)`,
  );
}

async function batch(): Promise<void> {
  const ours = await startOurs(file());
  const client = new Client(ours.url, someone('batch'));
  const fqn = `bench:1.0.0@${client.username}`;
  await client.publish(fqn, [SDP]);
  const times: number[] = [];
  let isOver = false;
  const looking = (async () => {
    while (!isOver) {
      const start = performance.now();
      await (await fetch(`${ours.url}/health`)).text();
      times.push(performance.now() - start);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  })();
  let took = 0;
  for (let turn = 0; turn < 10; turn++) {
    const body = JSON.stringify(
      Array.from({ length: 100 }, (_, index) =>
        client.signed('publishService', { serviceFqn: fqn, offers: [{ sdp: `${SDP}${turn}.${index}` }] }),
      ),
    );
    const start = performance.now();
    await postBody(`${ours.url}/rpc`, body);
    took += performance.now() - start;
  }
  isOver = true;
  await looking;
  await ours.stop();
  print(
    'a batch of 100 publications',
    `takes ${round(took / 10)} ms; /health beside it p95 ${round(percentile(times, 0.95))} ms (wanted 50)`,
  );
}

async function distinct(): Promise<void> {
  const ours = await startOurs(file());
  const host = await PushClient.open(ours.url, someone('host'));
  const fqn = `bench:1.0.0@${host.username}`;
  const COUNT = 100;
  await host.publish(
    fqn,
    Array.from({ length: COUNT }, (_, index) => `offer ${index}`),
  );
  const joiners = await Promise.all(Array.from({ length: COUNT }, () => PushClient.open(ours.url, someone('joiner'))));
  const offers = await Promise.all(joiners.map((joiner) => joiner.take(fqn)));
  for (const { socket } of [host, ...joiners]) socket.terminate();
  await ours.stop();
  print('distinct offers', `${new Set(offers.map(({ offerId }) => offerId)).size} for ${COUNT} joiners at once`);
}

async function nodes(): Promise<void> {
  const missing = redisMissing();
  if (missing) return print('two nodes', missing);
  const redis = new RedisProcess();
  await redis.start();
  const [one, two] = [
    await startOurs(':memory:', { REDIS_URL: redis.url }),
    await startOurs(':memory:', { REDIS_URL: redis.url }),
  ];
  const sqlite = await startOurs(file());
  const pair = async (hostAt: Child, joinerAt: Child) => {
    const [{ host, fqn }] = (await openHosts(hostAt.url, 1)) as [{ host: PushClient; fqn: string }];
    return { host, fqn, joiner: await openClient(joinerAt.url, 'joiner'), delays: [] as number[] };
  };
  const pairs = [await pair(one, one), await pair(one, two), await pair(sqlite, sqlite)];
  for (let id = 0; id < 300; id++) {
    for (const each of pairs) each.delays.push(await handshake(each.host, each.fqn, each.joiner, id));
  }
  const [same = 0, across = 0, file_ = 0] = pairs.map(({ delays }) => median(delays));
  for (const { host, joiner } of pairs) for (const { socket } of [host, joiner]) socket.terminate();
  for (const each of [one, two, sqlite]) await each.stop();
  await redis.close();
  print(
    'answer to push across two nodes',
    `${round(across)} ms, ${(across / same).toFixed(2)} x one node on Redis (${round(same)} ms), ${(across / file_).toFixed(2)} x one on a file (${round(file_)} ms; wanted 3 x or 5 ms more)`,
  );
}

const measures: Record<string, () => Promise<void>> = { calls, signed, handshakes, oldWire, batch, distinct, nodes, idle };
const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !(name in measures));
if (unknown.length) {
  console.error(`unknown measure: ${unknown.join(', ')}; expected one of ${Object.keys(measures).join(', ')}`);
  process.exitCode = 2;
} else if (wanted.length === 1) {
  pinGenerator();
  await measures[wanted[0]!]!();
} else {
  // each measure runs in a separate process, so that no state is left from the previous measure
  for (const name of wanted.length ? wanted : Object.keys(measures))
    spawnSync(process.execPath, ['--import', 'tsx', import.meta.filename, name], { stdio: 'inherit' });
}
rmSync(folder, { recursive: true, force: true });
process.exit(process.exitCode);
