/**
 * Runs the code in the hosting guide of the 0.18 Rondevu client, unchanged except for imports and addresses: an `offerFactory` that
 * creates its own peer connection, and `connectToService({ onConnection })`. Both peers use raw channels, and each of the two
 * APIs prints one warning.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NodeCryptoAdapter, Rondevu, type ConnectionContext, type PublishOptions } from '../../src/core.js';
import { startServer, until } from '../server/helpers.js';
import { NodePeerConnection } from '../support/old-host.js';
import { WebSocket } from 'ws';

type OldFactory = (
  rtcConfig: RTCConfiguration,
) => Promise<{ pc: RTCPeerConnection; dc: RTCDataChannel; offer: RTCSessionDescriptionInit }>;
interface Note {
  type: string;
  from?: string;
  text?: string;
}

test('the code in the hosting guide works as written', async (t) => {
  const warn = t.mock.method(console, 'warn', () => undefined);
  const { url } = await startServer(t, { iceServers: [{ urls: 'stun:127.0.0.1:9' }] } as object);
  const webSocket = WebSocket as unknown as typeof globalThis.WebSocket;
  const states: string[] = [];
  const configurations: RTCConfiguration[] = [];

  // the host runs on a platform without WebRTC, and no option provides an implementation
  assert.equal(globalThis.RTCPeerConnection, undefined);
  const host = await Rondevu.connect({
    apiUrl: url,
    username: 'chatbot',
    cryptoAdapter: new NodeCryptoAdapter(),
    iceServers: 'ipv4-turn',
    webSocket,
  });
  t.after(() => host.close());
  const offerFactory: OldFactory = async (rtcConfig) => {
    configurations.push(rtcConfig);
    const pc = new NodePeerConnection({ ...rtcConfig, iceServers: [] });
    const dc = pc.createDataChannel('chat', { ordered: true, maxRetransmits: 3 });
    dc.onopen = () => dc.send(JSON.stringify({ type: 'identify', from: 'chatbot' }));
    dc.onmessage = (event: MessageEvent<string>) => {
      const message = JSON.parse(event.data) as Note;
      if (message.type === 'identify') dc.send(JSON.stringify({ type: 'identify_ack', from: 'chatbot' }));
      else dc.send(JSON.stringify({ type: 'message', from: 'chatbot', text: `Echo: ${message.text}` }));
    };
    pc.onconnectionstatechange = () => states.push(pc.connectionState);
    const offer = await pc.createOffer();
    await pc.setLocalDescription(offer);
    return { pc, dc, offer };
  };
  await host.publishService({
    service: 'chat:2.0.0',
    maxOffers: 2,
    offerFactory: offerFactory as unknown as NonNullable<PublishOptions['offerFactory']>,
    ttl: 300_000,
  });
  await host.startFilling();

  // the client
  const rondevu = await Rondevu.connect({ apiUrl: url, rtcPeerConnection: NodePeerConnection, iceServers: [], webSocket });
  t.after(() => rondevu.close());
  const received: Note[] = [];
  const contexts: ConnectionContext[] = [];
  const connection = await rondevu.connectToService({
    serviceFqn: 'chat:2.0.0@chatbot',
    wait: 10_000,
    onConnection: (context) => {
      contexts.push(context);
      const { dc } = context;
      dc.addEventListener('message', (event: MessageEvent<string>) => {
        const message = JSON.parse(event.data) as Note;
        received.push(message);
        if (message.type === 'identify_ack') dc.send(JSON.stringify({ type: 'message', text: 'Hello from browser!' }));
      });
      dc.send(JSON.stringify({ type: 'identify', from: rondevu.getUsername() }));
    },
  });
  await until(() => received.length === 3, 'all messages of the bot', 20_000);
  assert.deepEqual(received, [
    { type: 'identify', from: 'chatbot' },
    { type: 'identify_ack', from: 'chatbot' },
    { type: 'message', from: 'chatbot', text: 'Echo: Hello from browser!' },
  ]);
  assert.equal(contexts.length, 1);
  const { pc, dc, serviceFqn, offerId, peerUsername } = connection;
  assert.deepEqual(contexts[0], connection);
  assert.deepEqual([serviceFqn, peerUsername, dc.readyState], ['chat:2.0.0@chatbot', 'chatbot', 'open']);
  assert.ok(offerId);
  assert.ok(
    configurations.every(({ iceServers }) => Array.isArray(iceServers)),
    'each call got the configuration',
  );
  // event handlers that are set on the peer connection must be called
  assert.ok(states.includes('connected'), states.join());
  const ends: string[] = [];
  pc.onconnectionstatechange = () => ends.push(pc.connectionState);
  await host.stopFilling();
  await until(() => dc.readyState === 'closed', 'the channel to close', 20_000);
  const warnings = warn.mock.calls.map(({ arguments: [text] }) => String(text)).filter((text) => text.includes('deprecated'));
  assert.deepEqual(
    warnings.map((text) => /offerFactory|onConnection/.exec(text)?.[0]).sort(),
    ['offerFactory', 'onConnection'],
    'one warning each',
  );
  assert.equal(warn.mock.calls.filter(({ arguments: [text] }) => String(text).includes('"ipv4-turn"')).length, 1);
});
