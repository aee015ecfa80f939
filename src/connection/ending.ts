/** The last moments of a link that is closed in order: the tail goes out, the other side says that it has all. */
import type { Conversation } from './conversation.js';
import type { Link, LinkHandlers } from './link.js';

/** How long `close` waits for the other side's word that it has all, in ms. */
const FIN_WITHIN = 2000;

/** Resolves when the tail is out, or cannot get out. The connection that held the link has let go of it. */
export async function sendTail(link: Link, session: Conversation): Promise<void> {
  const nothing = () => undefined;
  let tellLost: () => void;
  // the other side's word may not have made it past its own end, and no other link is made now
  const lost = new Promise<void>((resolve) => (tellLost = resolve));
  const handlers: LinkHandlers = {
    onOpen: nothing,
    onPath: nothing,
    onSuspect: nothing,
    onAlive: nothing,
    onLocalCandidate: nothing,
    onRaw: nothing,
    onMessage: (data) => session.receive(data, link),
    onControl: (text) => void session.control(text, link),
    onLost: () => {
      session.detach();
      tellLost();
    },
    onError: () => {
      session.detach();
      tellLost();
    },
    onDead: () => session.detach(),
  };
  link.attach(handlers);
  await Promise.race([session.finish(FIN_WITHIN), lost]);
}
