/** Searching for an offer by name or by id, with failover and with a spare link. */
import assert from 'node:assert/strict';
import { describe, mock, test } from 'node:test';
import { OfferSearch } from '../../src/connection/offer-search.js';
import type { WebRtcLink } from '../../src/connection/webrtc-link.js';
import { RondevuError } from '../../src/errors.js';
import type { ServiceEntry } from '../../src/protocol/rpc.js';
import type { SignalingPort } from '../../src/signaling/signaling-port.js';

const SIGNAL = new AbortController().signal;
const ALICE = { fqn: 'chat:1.0.0@alice', hadLink: true };

/** Creates a search on a server that has offers only for the targets in `offered`. */
function search(target: string, failover: boolean, offered: string[]) {
  const asked: [target: string, wait: number][] = [];
  let links = 0;
  const closed: number[] = [];
  let onWaiting!: (reason: RondevuError) => void;
  const port = {
    findOffer(name: string, wait: number, waiting: (reason: RondevuError) => void) {
      asked.push([name, wait]);
      onWaiting = waiting;
      if (!offered.includes(name)) return Promise.reject(new RondevuError('no-offer', name));
      return Promise.resolve({ serviceFqn: name } as ServiceEntry);
    },
  } as unknown as SignalingPort;
  const makeLink = () => {
    const number = ++links;
    return { number, close: () => closed.push(number) } as unknown as WebRtcLink;
  };
  const made = new OfferSearch(target, failover, port, makeLink);
  return { search: made, asked, closed, waiting: () => onWaiting(new RondevuError('no-offer', 'nobody')) };
}

const nothing = (): void => undefined;

describe('the offer search', () => {
  test('searches again for the most recently found service, or for a hidden service by its id', async () => {
    const named = search('chat:1.0.0', false, ['chat:1.0.0@alice']);
    await named.search.find(ALICE, 500, nothing, SIGNAL);
    assert.deepEqual(named.asked, [['chat:1.0.0@alice', 500]]);
    const hidden = search('service-id', false, ['service-id']);
    await hidden.search.find(ALICE, 500, nothing, SIGNAL);
    assert.deepEqual(hidden.asked, [['service-id', 500]]);
  });

  test('looks for a different host if failover is enabled and the previous host is gone', async () => {
    const { search: found, asked } = search('chat:1.0.0', true, ['chat:1.0.0']);
    await found.find(ALICE, 500, nothing, SIGNAL);
    assert.deepEqual(asked, [
      ['chat:1.0.0@alice', 0],
      ['chat:1.0.0', 500],
    ]);
  });

  test('does not fail over before the first link, or if the target includes a username', async () => {
    const early = search('chat:1.0.0', true, []);
    await assert.rejects(early.search.find({ ...ALICE, hadLink: false }, 500, nothing, SIGNAL), { code: 'no-offer' });
    assert.equal(early.asked.length, 1);
    const named = search('chat:1.0.0@alice', true, []);
    assert.equal(named.search.hasFailover, false);
    await assert.rejects(named.search.find(ALICE, 500, nothing, SIGNAL), { code: 'no-offer' });
    assert.equal(named.asked.length, 1);
  });

  test('prepares one spare link, and closes it if no offer arrives in time', async () => {
    mock.timers.enable({ apis: ['setTimeout'] });
    const { search: found, closed, waiting } = search('chat:1.0.0@alice', false, ['chat:1.0.0@alice']);
    const numberOf = () => (found.takeLink() as unknown as { number: number }).number;
    await found.find(ALICE, 0, nothing, SIGNAL);
    await found.find(ALICE, 0, nothing, SIGNAL);
    assert.deepEqual([numberOf(), numberOf()], [1, 2]);
    await found.find(ALICE, 0, nothing, SIGNAL);
    waiting();
    mock.timers.tick(5000);
    assert.deepEqual(closed, [3]);
    assert.equal(numberOf(), 4);
    mock.timers.reset();
  });

  test('rejects without an unhandled rejection if a link cannot be created', async () => {
    const port = { findOffer: () => Promise.reject(new RondevuError('no-offer', 'late')) } as unknown as SignalingPort;
    const failing = new OfferSearch('chat:1.0.0@alice', false, port, () => {
      throw new RondevuError('unsupported', 'no WebRTC');
    });
    await assert.rejects(failing.find(ALICE, 0, nothing, SIGNAL), { code: 'unsupported' });
    await new Promise((resolve) => setTimeout(resolve)); // an unhandled rejection would fail the test
  });
});
