/** Conversation: the session of a connection with its further channels, which live and end with it. */
import type { BufferedMessage, Message } from '../delivery/message-buffer.js';
import { Session, createAllowances, type SessionHandlers, type SessionLimits } from '../delivery/session.js';
import { Channels, type ChannelsOwner } from './channels.js';
import type { Link } from './link.js';

export interface ConversationHandlers extends SessionHandlers, Pick<ChannelsOwner, 'onChannel' | 'isOfferer'> {}

export class Conversation extends Session {
  readonly channels: Channels;

  constructor(sid: string, limits: SessionLimits & ChannelsOwner['defaults'], handlers: ConversationHandlers) {
    const onReady: SessionHandlers['onReady'] = (verdict, lost) => {
      handlers.onReady(verdict, lost);
      // a listener may have taken the link away
      const link = this.port as Link | undefined;
      if (link?.isOpen) this.channels.attach(link);
    };
    const allowances = createAllowances(limits);
    super(sid, limits, { ...handlers, onReady }, allowances);
    const { onChannel, onHole, onError, isOfferer } = handlers;
    const of = { limits, allowances, defaults: limits, sessionId: () => this.sid };
    this.channels = new Channels({ ...of, onChannel, onHole, onError, isOfferer });
  }

  override detach(): void {
    super.detach();
    this.channels.pause();
  }

  override control(text: string, link: Link): boolean {
    return super.control(text, link) || this.channels.control(text, link);
  }

  override renew(sid: string): BufferedMessage[] {
    const lost = super.renew(sid);
    this.channels.renew(sid);
    return lost;
  }

  override async finish(ms: number): Promise<void> {
    // FIN of the connection itself ends all
    await this.channels.finish();
    await super.finish(ms);
  }

  override discard(): BufferedMessage[] {
    return dropped(super.discard());
  }

  override end(): BufferedMessage[] {
    this.channels.end();
    return dropped(super.end());
  }
}

function dropped(messages: BufferedMessage[]): BufferedMessage[] {
  for (const message of messages) (message as Message).settle('dropped');
  return messages;
}
