/** Rondevu clients under load: hosts, joiners, and one handshake between them. */
import { PushClient, someone } from '../../test/server/helpers.ts';

/** A session description of the same length as a real description from the engine. */
export const SDP = 'v=0\r\n'.padEnd(1500, 'a=candidate:1 1 udp 2122260223 192.0.2.1 50000 typ host\r\n');

/** Opens a client session that stores no frames, because garbage collection in the load generator would distort the results. */
export async function openClient(url: string, name: string): Promise<PushClient> {
  const client = await PushClient.open(url, someone(name));
  client.keeps = false;
  return client;
}

/** Opens a session for each host; each host has its own service. */
export async function openHosts(url: string, count: number): Promise<{ host: PushClient; fqn: string }[]> {
  return Promise.all(
    Array.from({ length: count }, async () => {
      const host = await openClient(url, 'bench');
      return { host, fqn: `bench:1.0.0@${host.username}` };
    }),
  );
}

/** Performs one handshake over sessions; returns the time from the answer to its push event, in ms. */
export async function handshake(host: PushClient, fqn: string, joiner: PushClient, id: number): Promise<number> {
  await host.publish(fqn, [`${SDP}${id}`]);
  const offer = await joiner.take(fqn, { wait: 5000 });
  const mark = `answer ${id} ${joiner.username}`;
  const arrived = new Promise<number>((resolve) => {
    const listen = (data: Buffer): void => {
      const text = String(data);
      if (!text.includes(mark)) return;
      resolve(performance.now());
      host.socket.off('message', listen);
      host.send({ ack: (JSON.parse(text) as { seq: number }).seq });
    };
    host.socket.on('message', listen);
  });
  const start = performance.now();
  const [at] = await Promise.all([arrived, joiner.answer(offer, `${SDP}${mark}`)]);
  return at - start;
}
