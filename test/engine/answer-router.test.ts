/**
 * AnswerRouter assigns each answer to a connection. The connections are stubs; test/node-webrtc and test/chaos use real
 * connections.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { OffererConnection } from '../../src/connection/offerer-connection.js';
import type { HandshakeProof, Peer } from '../../src/identity/handshake-proof.js';
import { AnswerRouter } from '../../src/offers/answer-router.js';
import type { OfferPoolOptions } from '../../src/offers/offer-pool-options.js';
import type { Offer } from '../../src/offers/offer.js';
import type { AnswerInfo } from '../../src/protocol/rpc.js';

const ALICE: Peer = { username: 'alice', publicKey: 'a', verified: true, pinned: false };
const BOB: Peer = { username: 'bob', publicKey: 'b', verified: true, pinned: false };
const OFFER = { id: 'offer', sig: 'sig' } as Offer;

interface Stub {
  peer: Peer;
  sid?: string;
  offerId?: string;
  state?: 'connected' | 'reconnecting' | 'closed';
  /** Whether the peer responds to a probe. */
  isAlive?: boolean;
}

const stub = ({ peer, sid = 'sid', offerId = 'other', state = 'connected', isAlive = false }: Stub): OffererConnection =>
  ({
    peer,
    sessionId: sid,
    getOfferId: () => offerId,
    getState: () => state,
    isConnected: () => state === 'connected',
    isRotating: () => state === 'reconnecting',
    probe: () => Promise.resolve(isAlive),
  }) as unknown as OffererConnection;

/** Returns the router's decision on an answer from a peer. @param sid session id, or undefined for an older client */
async function route(peer: Peer, sid: string | undefined, stubs: Stub[], options: Partial<OfferPoolOptions> = {}) {
  const connections = stubs.map(stub);
  const proof = { open: () => Promise.resolve({ peer, ...(sid && { line: { sid } }) }) } as unknown as HandshakeProof;
  const all = { serviceFqn: 'chat:1.0.0@host', maxConnections: Infinity, ...options } as OfferPoolOptions;
  const router = new AnswerRouter(all, proof, new Set(connections));
  const verdict = router.decide(await router.examine(OFFER, { answererId: peer.username } as AnswerInfo), OFFER);
  return 'connection' in verdict ? [verdict.kind, connections.indexOf(verdict.connection)] : verdict;
}

describe('the answer router', () => {
  test('opens a connection for a new peer', async () => {
    assert.deepEqual(await route(ALICE, 'sid', []), { kind: 'new' });
    assert.deepEqual(await route(ALICE, 'sid', [{ peer: BOB, state: 'reconnecting' }]), { kind: 'new' });
  });

  test('resumes a waiting connection on its own offer, or rebinds it to a different offer', async () => {
    const waiting: Stub = { peer: ALICE, state: 'reconnecting' };
    assert.deepEqual(await route(ALICE, 'sid', [{ ...waiting, offerId: 'offer' }]), ['resume', 0]);
    assert.deepEqual(await route(ALICE, 'sid', [waiting]), ['rebind', 0]);
  });

  test('prefers the peer’s connection with the same session to its other connections', async () => {
    const stubs: Stub[] = [
      { peer: ALICE, sid: 'first', state: 'reconnecting' },
      { peer: ALICE, sid: 'second', state: 'reconnecting' },
    ];
    assert.deepEqual(await route(ALICE, 'second', stubs), ['rebind', 1]);
  });

  test('rebinds the only connection of a reloaded peer unless its link is alive', async () => {
    assert.deepEqual(await route(ALICE, 'new', [{ peer: ALICE, state: 'reconnecting' }]), ['rebind', 0]);
    assert.deepEqual(await route(ALICE, 'new', [{ peer: ALICE, isAlive: false }]), ['rebind', 0]);
    assert.deepEqual(await route(ALICE, 'new', [{ peer: ALICE, isAlive: true }]), { kind: 'new' });
    const two: Stub[] = [
      { peer: ALICE, sid: 'x', state: 'reconnecting' },
      { peer: ALICE, sid: 'y', state: 'reconnecting' },
    ];
    assert.deepEqual(await route(ALICE, 'new', two), { kind: 'new' });
  });

  test('refuses a second answer for a session whose link is alive', async () => {
    assert.deepEqual(await route(ALICE, 'sid', [{ peer: ALICE, isAlive: true }]), { kind: 'refuse' });
    assert.deepEqual(await route(ALICE, 'sid', [{ peer: ALICE, isAlive: false }]), ['rebind', 0]);
  });

  test('identifies an older client by its username, but never treats it as a peer with a key', async () => {
    const old: Peer = { username: 'alice', verified: false, pinned: false };
    assert.deepEqual(await route(old, undefined, [{ peer: old, state: 'reconnecting' }]), ['rebind', 0]);
    assert.deepEqual(await route(old, undefined, [{ peer: ALICE, state: 'reconnecting' }]), { kind: 'new' });
    assert.deepEqual(await route(ALICE, 'sid', [{ peer: old, state: 'reconnecting' }]), { kind: 'new' });
  });

  test('refuses new peers, but not returning peers, when the service is full', async () => {
    const waiting: Stub[] = [{ peer: ALICE, state: 'reconnecting' }];
    assert.deepEqual(await route(BOB, 'sid', waiting, { maxConnections: 1 }), { kind: 'refuse', reason: 'service-full' });
    assert.deepEqual(await route(ALICE, 'sid', waiting, { maxConnections: 1 }), ['rebind', 0]);
  });

  test('refuses a peer that `accept` rejects', async () => {
    assert.deepEqual(await route(ALICE, 'sid', [], { accept: () => false }), { kind: 'refuse', reason: 'forbidden' });
    assert.deepEqual(await route(ALICE, 'sid', [], { accept: (peer) => peer.username === 'alice' }), { kind: 'new' });
  });

  test('refuses a new peer if the service fills up while the answer is being examined', async () => {
    const connections = new Set<OffererConnection>();
    const proof = { open: () => Promise.resolve({ peer: ALICE, line: { sid: 'sid' } }) } as unknown as HandshakeProof;
    const router = new AnswerRouter({ maxConnections: 1 } as OfferPoolOptions, proof, connections);
    const examined = await router.examine(OFFER, {} as AnswerInfo);
    connections.add(stub({ peer: BOB }));
    assert.deepEqual(router.decide(examined, OFFER), { kind: 'refuse', reason: 'service-full' });
  });

  test("opens a new connection if the peer's previous connection closes while the answer is being examined", async () => {
    let state = 'reconnecting';
    const connection = { ...stub({ peer: ALICE, state: 'reconnecting' }), getState: () => state } as OffererConnection;
    const proof = { open: () => Promise.resolve({ peer: ALICE, line: { sid: 'sid' } }) } as unknown as HandshakeProof;
    const router = new AnswerRouter({ maxConnections: Infinity } as OfferPoolOptions, proof, new Set([connection]));
    const examined = await router.examine(OFFER, {} as AnswerInfo);
    state = 'closed';
    assert.deepEqual(router.decide(examined, OFFER), { kind: 'new' });
  });
});
