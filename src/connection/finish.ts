/** Graceful shutdown of a link: sends the queued messages and waits until the peer confirms them. */
import type { Endpoint } from '../delivery/endpoint.js';
import type { Link } from './link.js';

/**
 * Sends the queued messages and FIN. The connection must already have released the link.
 * @returns a promise that resolves when the peer has confirmed FIN or the link is lost
 */
export async function finish(link: Link, endpoint: Endpoint): Promise<void> {
  let resolveLost: () => void;
  // if the peer closes at the same time, its confirmation may be lost; a link that is lost during the shutdown is not replaced
  const lost = new Promise<void>((resolve) => (resolveLost = resolve));
  const onLost = () => {
    endpoint.detach();
    resolveLost();
  };
  link.attach({
    onMessage: (data) => endpoint.receive(data, link),
    onControl: (text) => void endpoint.control(text, link),
    onLost,
    onError: onLost,
    onDead: () => endpoint.detach(),
  });
  await Promise.race([endpoint.finish(), lost]);
}
