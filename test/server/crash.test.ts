/**
 * Kills a server with SIGKILL at pseudo-random times while clients claim names and publish offers: all acknowledged data must
 * survive every restart. CRASHES sets the number of kills; CRASH_SEED reproduces a run.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { ServicePage } from '../../src/protocol/index.js';
import { Random, seedOf } from '../support/random.js';
import { ServerProcess } from '../support/site.js';
import { CallError, Client, someone, until } from './helpers.js';

/** Number of kills in a CI run. */
const USUAL = 10;
const CRASHES = Number(process.env['CRASHES'] ?? USUAL);
const SEED = seedOf('CRASH_SEED', CRASHES > USUAL);
const WRITERS = 4;
/** Number of publications per claimed name. */
const PUBLICATIONS = 3;

/** Data that the server has acknowledged. */
interface Acknowledged {
  client: Client;
  serviceFqn: string;
  sdps: string[];
}

const server = new ServerProcess();
before(() => server.start());
after(() => server.close());

/** Claims names and publishes offers until the server is killed, and records the acknowledged data. */
async function write(acknowledged: Acknowledged[]): Promise<void> {
  for (;;) {
    const client = new Client(server.url, someone('writer'));
    const entry: Acknowledged = { client, serviceFqn: `crash:1.0.0@${client.username}`, sdps: [] };
    try {
      for (let i = 0; i < PUBLICATIONS; i++) {
        const { offers } = await client.publish(entry.serviceFqn, [`offer ${i} of ${client.username}`], { ttl: 300_000 });
        entry.sdps.push(...offers.map(({ sdp }) => sdp));
        if (i === 0) acknowledged.push(entry);
      }
    } catch (error) {
      // fetch throws a TypeError when the server is killed; a call refused by the server throws a different error
      if (error instanceof TypeError) return;
      throw error;
    }
  }
}

async function check({ client, serviceFqn, sdps }: Acknowledged): Promise<void> {
  const user = await new Client(server.url, someone('reader')).call('getUser', { username: client.username });
  assert.ok(!user.available && user.publicKey === client.identity.publicKey, `the claim of ${client.username} is lost`);
  const reader = new Client(server.url, someone('reader'));
  const page = (await reader.call('getService', { serviceFqn, limit: 10, offset: 0 })) as ServicePage;
  assert.equal(page.services.length, 1, `${serviceFqn} is lost`);
  // each look-up leases a different free offer; an extra offer may exist if its acknowledgement was lost
  const found = new Set<string>();
  for (let i = 0; i < PUBLICATIONS; i++) {
    const taken = await new Client(server.url, someone('joiner')).take(serviceFqn).catch((error: CallError) => error);
    if (!(taken instanceof CallError)) found.add(taken.sdp);
  }
  for (const sdp of sdps) assert.ok(found.has(sdp), `"${sdp}" is lost`);
}

test(`acknowledged data survives ${CRASHES} SIGKILLs under load (seed ${SEED})`, { timeout: 600_000 }, async (t) => {
  const random = new Random(SEED);
  let [claims, offers] = [0, 0];
  for (let crash = 0; crash < CRASHES; crash++) {
    const acknowledged: Acknowledged[] = [];
    const writers = Array.from({ length: WRITERS }, () => write(acknowledged));
    await until(() => acknowledged.length > 0, 'the first acknowledgement');
    await new Promise((resolve) => setTimeout(resolve, random.between(0, 450)));
    await server.stop('SIGKILL');
    await Promise.all(writers);
    await server.start();
    for (const entry of acknowledged) await check(entry);
    claims += acknowledged.length;
    offers += acknowledged.reduce((sum, { sdps }) => sum + sdps.length, 0);
  }
  t.diagnostic(`${claims} claims and ${offers} offers were acknowledged and found again`);
});
