/**
 * Measures CPU time per point: the server's cost for each call, per point of the caller's allowance, with typical parameters
 * and with the largest parameters within the limits. The exit code is 1 if any call costs more than 2 ms per point.
 * Usage: `npm run bench -- points [method …]`.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DEFAULT_LIMITS } from '../server/dist/index.js';
import { EXAMINED_PER_POINT, LISTED_PER_POINT, MAX_DISCOVERED, NAMES_PER_POINT } from '../server/dist/discovery.js';
import { POLLED_PER_POINT } from '../server/dist/handlers.js';
import { ITEMS_PER_POINT, NEW_KEY_COST, costOf, costOfBytes } from '../server/dist/limiter.js';
import { Client, PushClient, anonymous, newInstance, signV2, someone } from '../test/server/helpers.ts';
import { SDP } from './load/clients.ts';
import { postBody } from './load/generator.ts';
import { pinGenerator, startOurs, type Child } from './load/processes.ts';

/** Maximum CPU time per point, in ms. */
const WANTED = 2;
/** Maximum time to measure one row, in ms. */
const MOST_TIME = 6000;
const { maxSdpLength, maxOffers, maxCandidates } = DEFAULT_LIMITS;

interface Request {
  body: string;
  /** Points charged for all calls in the request, excluding the points charged for its length in bytes. */
  points: number;
}

interface Row {
  method: string;
  form: string;
  /** Maximum number of measured requests. */
  count: number;
  /** Prepares the server; returns a function that creates each request. */
  prepare(url: string): Promise<(index: number) => Request | Promise<Request>>;
}

/** @param more additional points that the server charges while it handles the call */
const request = (client: Client, method: string, params: object, more = 0): Request => ({
  body: JSON.stringify(signV2(client.identity, method, params, client.url)),
  points: costOf(method, params) + more,
});
/** Creates a request signed with a key that is new to the server. */
const newRequest = (client: Client, method: string, params: object): Request => request(client, method, params, NEW_KEY_COST);
const filled = (text: string, size = maxSdpLength): string => text.padEnd(size, 'x');
const lines = (count: number, mark: string): object[] =>
  Array.from({ length: count }, (_, index) => ({ candidate: filled(`candidate ${mark} ${index}`, 1000), sdpMid: '0' }));

interface Host {
  client: Client;
  fqn: string;
  ids: string[];
}

/** Creates a host with one service that has `count` offers. */
async function host(url: string, count: number, size: number, instance?: string): Promise<Host> {
  const client = new Client(url, someone('host'), 'v2', instance);
  const fqn = `bench:1.0.0@${client.username}`;
  const ids: string[] = [];
  for (let done = 0; done < count; done += 10) {
    const sdps = Array.from({ length: Math.min(10, count - done) }, (_, index) => filled(`${done + index} `, size));
    ids.push(...(await client.publish(fqn, sdps)).offers.map(({ offerId }) => offerId));
  }
  return { client, fqn, ids };
}

/** Creates a host with `count` answered offers. */
async function answeredHost(url: string, count: number, size: number): Promise<Host & { joiner: Client }> {
  const client = new Client(url, someone('host'));
  const joiner = new Client(url, someone('joiner'));
  const ids: string[] = [];
  const fqn = `bench:1.0.0@${client.username}`;
  for (let index = 0; index < count; index++) {
    const { offerId } = (await client.publish(fqn, [filled(`${index} `, size)])).offers[0]!;
    await joiner.answer({ serviceFqn: fqn, offerId }, filled(`answer ${index} `, size));
    ids.push(offerId);
  }
  return { client, joiner, fqn, ids };
}

const rows: Row[] = [
  {
    ...{ method: '(unsigned)', form: '1 MiB of keys', count: 20 },
    async prepare(url) {
      const keys = Object.fromEntries(Array.from({ length: 90_000 }, (_, index) => [`${(index * 7919).toString(36)}`, 0]));
      return () => ({
        body: JSON.stringify({ ...signV2(someone(), 'poll', {}, url, { signature: `${'A'.repeat(86)}==` }), params: keys }),
        points: 1,
      });
    },
  },
  {
    ...{ method: '(unsigned)', form: '1 MiB of arrays', count: 20 },
    async prepare(url) {
      const { params: _, ...call } = signV2(someone(), 'poll', {}, url, { signature: `${'A'.repeat(86)}==` });
      const arrays = `[${Array(340_000).fill('[]').join(',')}]`;
      return () => ({ body: `${JSON.stringify(call).slice(0, -1)},"params":{"a":${arrays}}}`, points: 1 });
    },
  },
  {
    ...{ method: '(unsigned)', form: 'a new key each time', count: 300 },
    prepare: async (url) => () => ({
      body: JSON.stringify(signV2(someone(), 'poll', {}, url, { signature: `${'A'.repeat(86)}==` })),
      points: 1,
    }),
  },
  {
    ...{ method: '(no call)', form: 'a batch of 100 nulls', count: 100 },
    prepare: async () => () => ({ body: JSON.stringify(Array(100).fill(null)), points: 100 }),
  },
  {
    ...{ method: 'poll', form: '9000 values to sign', count: 100 },
    async prepare(url) {
      const client = new Client(url);
      const values = Array.from({ length: 9000 }, () => 0);
      return () => request(client, 'poll', { values });
    },
  },
  {
    ...{ method: 'getUser', form: 'of a claimed name', count: 1000 },
    async prepare(url) {
      const client = new Client(url);
      return () => request(client, 'getUser', { username: client.username });
    },
  },
  {
    ...{ method: 'getUser', form: 'by a new anonymous key', count: 300 },
    prepare: async (url) => () => newRequest(new Client(url, anonymous()), 'getUser', { username: 'nobody' }),
  },
  {
    ...{ method: 'getUser', form: 'by a new name', count: 300 },
    prepare: async (url) => () => newRequest(new Client(url, someone('new')), 'getUser', { username: 'nobody' }),
  },
  {
    ...{ method: 'publishService', form: '1 offer', count: 500 },
    async prepare(url) {
      const client = new Client(url);
      return (index) =>
        request(client, 'publishService', { serviceFqn: `bench:1.0.0@${client.username}`, offers: [{ sdp: `${SDP}${index}` }] });
    },
  },
  {
    ...{ method: 'publishService', form: '100 offers of 10 KiB', count: 18 },
    async prepare(url) {
      const client = new Client(url);
      return (index) => {
        const offers = Array.from({ length: maxOffers }, (_, each) => ({ sdp: filled(`${index} ${each}`, 10_000) }));
        return request(client, 'publishService', { serviceFqn: `b-${index}:1.0.0@${client.username}`, offers });
      };
    },
  },
  {
    ...{ method: 'getService', form: '1 offer', count: 90 },
    async prepare(url) {
      const { fqn } = await host(url, 100, 1500, newInstance());
      return () => newRequest(new Client(url, someone('joiner')), 'getService', { serviceFqn: fqn });
    },
  },
  {
    ...{ method: 'getService', form: '1 of 100 offers of 64 KiB', count: 90 },
    async prepare(url) {
      const { fqn } = await host(url, 100, maxSdpLength, newInstance());
      return () => newRequest(new Client(url, someone('joiner')), 'getService', { serviceFqn: fqn });
    },
  },
  ...[1, 100].map((limit) => ({
    ...{ method: 'getService', form: `a page of ${limit} of 1000 services`, count: 30 },
    async prepare(url: string) {
      for (let user = 0; user < 10; user++) {
        const client = new Client(url, someone('listed'));
        for (let index = 0; index < 100; index++)
          await client.publish(`list-${limit}:1.0.${index}@${client.username}`, [filled(`${index}`, 4000)], {
            metadata: filled('', 4000),
          });
      }
      const asker = new Client(url);
      return () =>
        request(
          asker,
          'getService',
          { serviceFqn: `list-${limit}:1.0.0`, limit },
          1000 / NAMES_PER_POINT + 1000 / LISTED_PER_POINT - 1,
        );
    },
  })),
  {
    ...{ method: 'getService', form: 'a page of 1 of 100 services with 100 offers each for others', count: 30 },
    async prepare(url) {
      const client = new Client(url, someone('listed'));
      for (let index = 0; index < 100; index++)
        await client.call('publishService', {
          serviceFqn: `list:1.0.${index}@${client.username}`,
          offers: Array.from({ length: 100 }, (_, at) => ({ sdp: filled(`${at}`, 1000), for: 'nobody' })),
          ttl: 3_600_000,
        });
      const asker = new Client(url);
      return () => request(asker, 'getService', { serviceFqn: 'list:1.0.0', limit: 1 }, 100 / LISTED_PER_POINT - 1);
    },
  },
  ...[
    { form: 'one offer among 1000 services with metadata', users: 10, offers: 1, isFree: true },
    { form: 'no offer among 1000 services with metadata', users: 10, offers: 1, isFree: false },
    { form: 'no offer among 100 services with 100 offers each for others', users: 1, offers: 100, isFree: false },
    { form: 'no match among 3000 hidden services with metadata', users: 30, offers: 1, isFree: false, hidden: true },
  ].map(({ form, users, offers, isFree, hidden = false }) => ({
    ...{ method: 'getService', form, count: 90 },
    async prepare(url: string) {
      const metadata = JSON.parse(`[${Array(1350).fill('[]').join(',')}]`) as unknown;
      for (let user = 0; user < users; user++) {
        const client = new Client(url, someone('many'));
        for (let index = 0; index < 100; index++) {
          const isFirst = isFree && user === 0 && index === 99; // the highest version, so that the server tries this service
          await client.call('publishService', {
            serviceFqn: `many:1.0.${isFirst ? 999 : index}@${client.username}`,
            offers: Array.from({ length: offers }, (_, at) => ({
              sdp: filled(`${at}`, 1000),
              ...(!isFirst && { for: 'nobody' }),
            })),
            ...{ ttl: 3_600_000, metadata, hidden },
          });
        }
      }
      // a joiner without an instance receives the offer that it has already leased
      const joiner = new Client(url, someone('joiner'));
      const points = hidden
        ? 0
        : Math.floor((users * 100) / NAMES_PER_POINT) + (isFree ? 0 : MAX_DISCOVERED / EXAMINED_PER_POINT - 1);
      return () => request(joiner, 'getService', { serviceFqn: 'many:1.0.0' }, points);
    },
  })),
  {
    ...{ method: 'getServiceById', form: '1 of 100 offers of 64 KiB', count: 90 },
    async prepare(url) {
      const { client, fqn } = await host(url, 100, maxSdpLength, newInstance());
      const { serviceId } = await client.publish(fqn, ['x']);
      return () => newRequest(new Client(url, someone('joiner')), 'getServiceById', { serviceId });
    },
  },
  {
    ...{ method: 'deleteService', form: 'of 100 offers of 64 KiB', count: 10 },
    async prepare(url) {
      const hosts: Host[] = [];
      for (let index = 0; index < 10; index++) hosts.push(await host(url, 100, maxSdpLength));
      return (index) => request(hosts[index]!.client, 'deleteService', { serviceFqn: hosts[index]!.fqn }, 100 / ITEMS_PER_POINT);
    },
  },
  {
    ...{ method: 'releaseUsername', form: 'with 100 offers of 64 KiB', count: 10 },
    async prepare(url) {
      const hosts: Host[] = [];
      for (let index = 0; index < 10; index++) hosts.push(await host(url, 100, maxSdpLength));
      return (index) => request(hosts[index]!.client, 'releaseUsername', {}, 100 / ITEMS_PER_POINT);
    },
  },
  {
    ...{ method: 'withdrawOffers', form: '1000 unknown ids', count: 50 },
    async prepare(url) {
      const { client, fqn } = await host(url, 1, 1500);
      const offerIds = Array.from({ length: 1000 }, (_, index) => `unknown-${index}`);
      return () => request(client, 'withdrawOffers', { serviceFqn: fqn, offerIds });
    },
  },
  {
    ...{ method: 'withdrawOffers', form: '100 offers of 64 KiB', count: 10 },
    async prepare(url) {
      const hosts: Host[] = [];
      for (let index = 0; index < 10; index++) hosts.push(await host(url, 100, maxSdpLength));
      return (index) =>
        request(hosts[index]!.client, 'withdrawOffers', { serviceFqn: hosts[index]!.fqn, offerIds: hosts[index]!.ids });
    },
  },
  {
    ...{ method: 'answerOffer', form: '64 KiB', count: 90 },
    async prepare(url) {
      const { fqn, ids } = await host(url, 90, maxSdpLength);
      const joiner = new Client(url);
      return (index) => request(joiner, 'answerOffer', { serviceFqn: fqn, offerId: ids[index], sdp: filled(`${index} `) });
    },
  },
  {
    ...{ method: 'getOfferAnswer', form: '64 KiB', count: 200 },
    async prepare(url) {
      const { client, fqn, ids } = await answeredHost(url, 1, maxSdpLength);
      return () => request(client, 'getOfferAnswer', { serviceFqn: fqn, offerId: ids[0] });
    },
  },
  {
    ...{ method: 'poll', form: 'nothing new on 1000 answered offers', count: 100 },
    async prepare(url) {
      const { client } = await answeredHost(url, 1000, 2000);
      for (let index = 0; index < 25; index++) await client.call('poll', {});
      return () => request(client, 'poll', { since: Date.now() + 1000 }, 1000 / POLLED_PER_POINT);
    },
  },
  {
    ...{ method: 'poll', form: '100 answers of 64 KiB, again and again', count: 50 },
    async prepare(url) {
      const { client } = await answeredHost(url, 100, maxSdpLength);
      return () => request(client, 'poll', { since: 0 });
    },
  },
  {
    ...{ method: 'addIceCandidates', form: `${maxCandidates} that are known`, count: 50 },
    async prepare(url) {
      const { joiner, fqn, ids } = await answeredHost(url, 1, 1500);
      const candidates = lines(maxCandidates, 'known');
      await joiner.call('addIceCandidates', { serviceFqn: fqn, offerId: ids[0]!, candidates: candidates as never });
      return () => request(joiner, 'addIceCandidates', { serviceFqn: fqn, offerId: ids[0], candidates });
    },
  },
  {
    ...{ method: 'addIceCandidates', form: `${maxCandidates} new ones`, count: 30 },
    async prepare(url) {
      const { joiner, fqn, ids } = await answeredHost(url, 30, 1500);
      return (index) =>
        request(joiner, 'addIceCandidates', { serviceFqn: fqn, offerId: ids[index], candidates: lines(maxCandidates, 'new') });
    },
  },
  {
    ...{ method: 'getIceCandidates', form: `${maxCandidates}`, count: 50 },
    async prepare(url) {
      const { client, joiner, fqn, ids } = await answeredHost(url, 1, 1500);
      await joiner.call('addIceCandidates', {
        serviceFqn: fqn,
        offerId: ids[0]!,
        candidates: lines(maxCandidates, 'x') as never,
      });
      return () => request(client, 'getIceCandidates', { serviceFqn: fqn, offerId: ids[0], since: 0 });
    },
  },
  {
    ...{ method: 'getIceServers', form: '', count: 300 },
    async prepare(url) {
      const client = new Client(url);
      return () => request(client, 'getIceServers', {});
    },
  },
  {
    ...{ method: 'signal', form: '64 KiB', count: 100 },
    async prepare(url) {
      const { client, joiner } = await answeredHost(url, 1, 1500);
      const socket = await PushClient.open(url, client.identity);
      socket.keeps = false;
      return (index) => request(joiner, 'signal', { to: client.username, sid: 'abcdefgh', sdp: filled(`${index} `) });
    },
  },
];

/**
 * Makes the common calls 150 times each and waits until the server is idle, so that JIT compilation does not count as part of a
 * call.
 */
async function warmUp(server: Child): Promise<void> {
  for (let round = 0; round < 150; round++) {
    const [owner, joiner] = [new Client(server.url, someone('warm')), new Client(server.url, anonymous())];
    const serviceFqn = `warm:1.0.0@${owner.username}`;
    await owner.publish(serviceFqn, [`${SDP}${round}`, `${SDP}again ${round}`], { metadata: { round } });
    const offer = await joiner.take(serviceFqn);
    await joiner.answer(offer);
    await joiner.addCandidates(offer, 'candidate');
    await owner.call('poll', {});
    await owner.call('getUser', { username: joiner.username });
    await joiner.call('getIceServers', {});
    await owner.call('deleteService', { serviceFqn });
  }
  for (let before = -1; before !== server.cpu(); await new Promise((resolve) => setTimeout(resolve, 300))) before = server.cpu();
}

async function measure(server: Child, { method, form, count, prepare }: Row): Promise<number> {
  await warmUp(server);
  const next = await prepare(server.url);
  const requests: Request[] = [];
  for (let index = 0; index < count; index++) requests.push(await next(index));
  const before = server.cpu();
  const start = performance.now();
  let [done, points] = [0, 0];
  for (; done < count && performance.now() - start < MOST_TIME; done++) {
    const { body, points: cost } = requests[done]!;
    const reply = await postBody(`${server.url}/rpc`, body);
    points += cost + costOfBytes(Buffer.byteLength(body)) + costOfBytes(reply.length);
    if (done === 0 && process.env['BENCH_SHOW']) console.log(`  ${reply.slice(0, 150)}`);
  }
  const cpu = (server.cpu() - before) * 1000;
  const each = cpu / points;
  const name = `${method}${form && `, ${form}`}`;
  console.log(
    `${name.padEnd(56)} ${(points / done).toFixed(1).padStart(7)} points ${(cpu / done).toFixed(2).padStart(8)} ms ${each.toFixed(3).padStart(8)} ms per point${each > WANTED ? `  (wanted ${WANTED})` : ''}`,
  );
  return each;
}

const folder = mkdtempSync(join(tmpdir(), 'rondevu-points-'));
const wanted = process.argv.slice(2);
pinGenerator();
let worst = 0;
for (const [index, row] of rows.entries()) {
  if (wanted.length && !wanted.includes(row.method)) continue;
  const server = await startOurs(join(folder, `${index}.db`), {
    STUN_URLS: 'stun:stun.example.org',
    LIMIT_MAX_OFFERS_PER_USER: '1000000',
  });
  worst = Math.max(worst, await measure(server, row));
  await server.stop();
}
rmSync(folder, { recursive: true, force: true });
console.log(`at most ${worst.toFixed(2)} ms of CPU per point (wanted ${WANTED})`);
process.exit(worst > WANTED ? 1 : 0);
