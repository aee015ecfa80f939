/** An attacker that takes offers from its own IP address without answering them. */
import { request } from 'node:http';
import { Rondevu } from '../../dist/src/index.js';
import { RequestSigner } from '../../dist/src/signaling/request-signer.js';

export interface Attack {
  /** Number of calls answered so far. */
  readonly asked: number;
  stop(): void;
}

/**
 * Sends 50 requests per second with one key from 127.0.0.2, so that the server does not count them against the address of
 * honest pages.
 */
export async function startAttack(serverUrl: string, serviceFqn: string): Promise<Attack> {
  const signer = new RequestSigner(serverUrl, 'attacker', await Rondevu.createIdentity());
  const { host, port } = new URL(serverUrl);
  let asked = 0;
  const ask = async (): Promise<void> => {
    const body = JSON.stringify(await signer.sign('getService', { serviceFqn }));
    const post = request(
      `http://127.0.0.1:${port}/rpc`,
      { method: 'POST', localAddress: '127.0.0.2', headers: { host } },
      (response) => {
        response.resume();
        asked++;
      },
    );
    post.on('error', () => undefined);
    post.end(body);
  };
  const timer = setInterval(() => void ask(), 20);
  return {
    get asked() {
      return asked;
    },
    stop: () => clearInterval(timer),
  };
}
