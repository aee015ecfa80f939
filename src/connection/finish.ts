/** Orderly closing of a link: sends queued messages, and waits until the peer confirms them. */
import type { Endpoint } from '../delivery/endpoint.js';
import type { Link } from './link.js';

/**
 * Sends queued messages and FIN. The connection no longer holds the link.
 * @returns a promise that resolves when the peer has confirmed or the link is lost
 */
export async function finish(link: Link, endpoint: Endpoint): Promise<void> {
  let resolveLost: () => void;
  // if the peer closes at the same time, its confirmation may be lost; a link lost now is not replaced
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
