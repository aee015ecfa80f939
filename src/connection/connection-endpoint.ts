/** ConnectionEndpoint: the endpoint of a connection, together with its additional channels, which end with it. */
import { Endpoint, type EndpointHandlers } from '../delivery/endpoint.js';
import type { BufferedMessage } from '../delivery/message-buffer.js';
import { createAllowances } from '../delivery/session.js';
import { Channels, type ChannelsOwner } from './channels.js';
import type { ConnectionConfig } from './connection-config.js';
import type { Link } from './link.js';

export interface ConnectionEndpointHandlers extends EndpointHandlers, Pick<ChannelsOwner, 'onChannel' | 'isOfferer'> {}

export class ConnectionEndpoint extends Endpoint {
  readonly channels: Channels;

  constructor(sid: string, config: ConnectionConfig, handlers: ConnectionEndpointHandlers) {
    const allowances = createAllowances(config);
    super(sid, { ...config, maxQueueSize: config.maxBufferSize, maxMessageAge: config.maxBufferAge }, handlers, allowances);
    const { onChannel, onGap, onError, isOfferer } = handlers;
    const shared = { limits: config, allowances, defaults: config, sessionId: () => this.sid };
    this.channels = new Channels({ ...shared, onChannel, onGap, onError, isOfferer });
  }

  override detach(): void {
    super.detach();
    this.channels.pause();
  }

  override control(text: string, link: Link): boolean {
    return super.control(text, link) || this.channels.control(text, link);
  }

  override renew(sid: string, isOther?: boolean): void {
    super.renew(sid, isOther);
    this.channels.renew(sid);
  }

  override async finish(): Promise<void> {
    // channels are finished first, because FIN on the connection itself ends all of them
    await this.channels.finish();
    await super.finish();
  }

  override end(): void {
    this.channels.end();
    super.end();
  }

  protected override ready(verdict: 'new' | 'resumed' | 'reset', lost: BufferedMessage[]): void {
    super.ready(verdict, lost);
    // a listener may have closed the link
    const link = this.port as Link | undefined;
    if (link?.isOpen) this.channels.attach(link);
  }
}
