/** A TCP load balancer in front of several servers: each connection goes to the first server in the list that accepts it. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export interface Balancer {
  readonly url: string;
  close(): Promise<void>;
}

/** @param targets returns the server URLs in the order in which they are tried; called for each connection */
export async function startBalancer(targets: () => string[]): Promise<Balancer> {
  const open = new Set<Socket>();
  const server = createServer((client) => {
    open.add(client);
    client.on('error', () => client.destroy()).on('close', () => open.delete(client));
    void join(client, targets());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      for (const socket of open) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

async function join(client: Socket, urls: string[]): Promise<void> {
  for (const url of urls) {
    const upstream = connect(Number(new URL(url).port), new URL(url).hostname);
    try {
      await once(upstream, 'connect');
    } catch {
      continue;
    }
    upstream.on('error', () => upstream.destroy()).on('close', () => client.destroy());
    client.on('close', () => upstream.destroy());
    client.pipe(upstream).pipe(client);
    return;
  }
  client.destroy();
}
