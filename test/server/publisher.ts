/**
 * Runs a publisher as a separate process, so that a test can kill or suspend it. The publisher maintains a pool of offers with
 * the engine's signaling client, and prints each received answer as a line of JSON. Arguments: server URL, username, private
 * key, public key, service name and pool size.
 */
import WebSocket from 'ws';
import { RpcClient } from '../../src/signaling/rpc-client.js';
import { SignalingClient } from '../../src/signaling/signaling-client.js';

const [url = '', username = '', privateKey = '', publicKey = '', serviceFqn = '', pool = '5'] = process.argv.slice(2);
const client = new SignalingClient(
  new RpcClient(url, username, { privateKey, publicKey }, undefined, false),
  WebSocket as unknown as typeof globalThis.WebSocket,
);
const seen = new Set<string>();
const free = new Map<string, string>();
let count = 0;
let filling = Promise.resolve();

const publish = async (): Promise<void> => {
  const fresh = Array.from({ length: Math.max(0, Number(pool) - free.size) }, () => `offer ${++count} of ${client.instance}`);
  const sdps = [...free.values(), ...fresh];
  for (;;) {
    try {
      const { offers } = await client.publish({ serviceFqn, offers: sdps.map((sdp) => ({ sdp })), ttl: 300_000 });
      // an answer may have arrived before this reply
      for (const { offerId, sdp } of offers) if (!seen.has(offerId)) free.set(offerId, sdp);
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
};
const fill = (): void => void (filling = filling.then(publish));

client.subscribe({
  onAnswer({ offerId, answererId, sdp }) {
    if (seen.has(offerId)) return;
    seen.add(offerId);
    free.delete(offerId);
    console.log(JSON.stringify({ instance: client.instance, offerId, answererId, sdp }));
    fill();
  },
  onDemand: fill,
  onReset: fill,
});
fill();
await filling;
console.log(JSON.stringify({ ready: client.instance }));
