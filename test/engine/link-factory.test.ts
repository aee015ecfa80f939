/** LinkFactory and WebRtcLink with simulated peer connections: failures during creation, and handover to a new owner. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LinkHandlers } from '../../src/connection/link.js';
import { WebRtcLink } from '../../src/connection/webrtc-link.js';
import { LinkFactory, type LinkOptions } from '../../src/link-factory.js';
import type { SignalingClient } from '../../src/signaling/index.js';

/** A peer connection that gathers candidates forever, and whose platform allows a limited number of data channels. */
class FakePeerConnection {
  static channels = Infinity;
  static all: FakePeerConnection[] = [];
  connectionState = 'new';
  iceGatheringState = 'gathering';
  #channels = 0;

  constructor() {
    FakePeerConnection.all.push(this);
  }

  createDataChannel() {
    if (++this.#channels > FakePeerConnection.channels) throw new DOMException('out of channels', 'OperationError');
    return { close: () => undefined };
  }

  close(): void {
    this.connectionState = 'closed';
  }
}

const maker = (options: LinkOptions = {}) => {
  const signaling = { on: () => undefined } as unknown as SignalingClient;
  const rtcPeerConnection = FakePeerConnection as unknown as typeof RTCPeerConnection;
  const settings = { apiUrl: 'https://example.org', iceServers: [], rtcPeerConnection };
  return new LinkFactory(settings, signaling, () => undefined).maker(options);
};

test('a link that cannot be created leaves no open peer connection behind, and is not counted', async () => {
  const circular: RTCConfiguration & { self?: unknown } = {};
  circular.self = circular;
  for (const [channels, options, message] of [
    [0, {}, /out of channels/],
    [1, {}, /out of channels/],
    [2, { rtcConfig: circular }, /circular/],
  ] as const) {
    Object.assign(FakePeerConnection, { channels, all: [] });
    const { make, makeForOffer } = maker(options);
    assert.throws(make, message);
    await assert.rejects(makeForOffer(true), message);
    const own = async () => new FakePeerConnection() as unknown as RTCPeerConnection;
    await assert.rejects(makeForOffer(true, own), message);
    assert.deepEqual(
      [WebRtcLink.live, ...FakePeerConnection.all.map((pc) => pc.connectionState)],
      [0, ...Array(3).fill('closed')],
    );
  }
  FakePeerConnection.channels = 2;
  const link = maker().make();
  assert.equal(WebRtcLink.live, 1);
  link.close();
  assert.equal(WebRtcLink.live, 0);
});

test('a link with a new owner emits ice:gathering:timeout once, when the timeout of the new owner elapses', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  FakePeerConnection.channels = 2;
  const link = maker().make();
  t.after(() => link.close());
  let timeouts = 0;
  const handlers = { onRaw: (name: string) => void (name === 'ice:gathering:timeout' && timeouts++) } as unknown as LinkHandlers;
  link.attach(handlers, 200);
  t.mock.timers.tick(100);
  link.attach(handlers, 300);
  t.mock.timers.tick(299);
  assert.equal(timeouts, 0);
  t.mock.timers.tick(1000);
  assert.equal(timeouts, 1);

  link.attach(handlers, 200);
  link.attach(handlers);
  t.mock.timers.tick(1000);
  assert.equal(timeouts, 1, 'the new owner has no timeout');
});
