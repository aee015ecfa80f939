/**
 * Channels: the additional channels of one connection, indexed by label. Either peer can create channels, and announces them
 * over the control channel of each link, so that both halves exist before anything is sent. See docs/protocol.md, "Further
 * channels".
 */
import { asRondevuError, ConnectionError, invalidValue, type RondevuError } from '../errors.js';
import { MAX_LABEL, parseChannelWord } from '../protocol/frames.js';
import type { Allowances, SessionLimits } from '../delivery/session.js';
import { ChannelPort, RondevuChannel, type ChannelConfig } from './channel.js';
import type { Link } from './link.js';

/** The part of a connection that its channels use. */
export interface ChannelsOwner {
  /** Limits of each channel. */
  readonly limits: SessionLimits;
  /** Memory allowances shared by the connection and all its channels. */
  readonly allowances: Allowances;
  /** Default options of each channel; `createChannel` can override them. */
  readonly defaults: Pick<ChannelConfig, 'maxQueueSize' | 'maxMessageAge'>;
  isOfferer(): boolean;
  sessionId(): string;
  /** Called when the peer has created a channel. */
  onChannel(channel: RondevuChannel): void;
  /** Called when the link has lost a message. */
  onGap(reason: string): void;
  /** Called when the peer has violated the protocol. */
  onError(error: RondevuError): void;
}

/**
 * Range of stream ids for channels: even ids belong to the offerer, odd ids to the answerer. Chromium supports stream ids up to
 * 1023.
 */
const FIRST_ID = 102;
const LAST_ID = 1022;
/** Maximum number of channels that the peer may create, equal to the number of its stream ids on one link. */
const MAX_OF_PEER = (LAST_ID - FIRST_ID) / 2 + 1;
/** Maximum number, and maximum total length in characters, of control texts buffered until the link can carry messages. */
const EARLY = 1000;
const EARLY_LENGTH = 1_048_576;

export class Channels {
  readonly #owner: ChannelsOwner;
  readonly #channels = new Map<string, RondevuChannel>();
  /** Channels that were created locally and are announced to the peer. */
  readonly #ours = new Set<RondevuChannel>();
  /** Labels of channels that were closed locally while no link was up. */
  readonly #unannounced = new Set<string>();
  #link: Link | undefined;
  /** Control texts that arrived on a link before it started to carry messages. */
  #early: { link: Link; text: string }[] = [];
  #earlyLength = 0;
  #fresh = 0;
  #free: number[] = [];

  constructor(owner: ChannelsOwner) {
    this.#owner = owner;
  }

  /**
   * Creates the channel with this label, or returns the existing one.
   * @throws ValidationError for an invalid label or option
   */
  create(label: string, config: Partial<ChannelConfig> = {}): RondevuChannel {
    if (typeof label !== 'string' || label.length > MAX_LABEL)
      throw invalidValue('createChannel: label', `a string of at most ${MAX_LABEL} characters`, label);
    const channel = this.#channels.get(label) ?? this.#make(label, config);
    this.#unannounced.delete(label);
    if (!this.#ours.has(channel)) {
      this.#ours.add(channel);
      if (!channel.port) this.#announce(channel);
    }
    return channel;
  }

  get(label: string): RondevuChannel | undefined {
    return this.#channels.get(label);
  }

  /** Called when a link starts to carry messages or a silent link has recovered. */
  attach(link: Link): void {
    if (link === this.#link) return this.#all((channel) => channel.resume());
    this.#link = link;
    this.#fresh = FIRST_ID + (this.#owner.isOfferer() ? 0 : 1);
    this.#free = [];
    for (const label of this.#unannounced) link.control(`shut ${JSON.stringify({ label })}`);
    this.#unannounced.clear();
    this.#all((channel) => channel.release());
    for (const channel of this.#ours) this.#announce(channel);
    const early = this.#early;
    this.#early = [];
    this.#earlyLength = 0;
    for (const { link: from, text } of early) if (from === link) this.control(text, link);
  }

  /** Stops using the link for the time being. */
  pause(): void {
    this.#all((channel) => channel.pause());
  }

  /** Handles a text from the control channel; returns false if the text is not about channels. */
  control(text: string, link: Link): boolean {
    const [, word, rest = ''] = /^(open|opened|shut|ch) (.*)$/s.exec(text) ?? [];
    if (!word) return false;
    if (link !== this.#link) {
      this.#earlyLength += text.length;
      if (this.#early.length >= EARLY || this.#earlyLength > EARLY_LENGTH)
        this.#owner.onError(new ConnectionError('too-large', 'too many channel messages before the link was ready'));
      else this.#early.push({ link, text });
      return true;
    }
    try {
      if (word === 'open') this.#opened(link, rest);
      else if (word === 'opened') this.#byId(Number(rest))?.peerReady();
      else if (word === 'shut') this.#peerShut(rest);
      else {
        const [id, ...words] = rest.split(' ');
        this.#byId(Number(id))?.control(words.join(' '));
      }
    } catch (error) {
      this.#owner.onError(asRondevuError(error, 'cannot handle a channel message from the peer'));
    }
    return true;
  }

  /** Starts a new session with the peer on all channels. */
  renew(sid: string): void {
    this.#all((channel) => channel.renew(sid));
  }

  /** Sends the queued messages of all channels, then closes the channels. */
  async finish(): Promise<void> {
    await Promise.all([...this.#channels.values()].map((channel) => channel.close()));
  }

  end(): void {
    this.#all((channel) => channel.end());
    this.#link = undefined;
  }

  #make(label: string, config: Partial<ChannelConfig>): RondevuChannel {
    const { limits, allowances, onGap, defaults } = this.#owner;
    const { maxQueueSize, maxMessageAge } = defaults;
    const host = { ...limits, allowances, onGap, closed: (closed: RondevuChannel) => this.#announceShut(closed) };
    const channel = new RondevuChannel(label, { maxQueueSize, maxMessageAge, ...config }, this.#owner.sessionId(), host);
    this.#channels.set(label, channel);
    channel.on('close', () => {
      if (this.#channels.get(label) === channel) this.#channels.delete(label);
      this.#ours.delete(channel);
      const id = channel.port?.id;
      const link = this.#link;
      // an id can be reused once both halves are closed
      channel.release(() => {
        if (link === this.#link && this.#isOurs(id!)) this.#free.push(id!);
      });
    });
    return channel;
  }

  #announce(channel: RondevuChannel): void {
    const link = this.#link;
    if (!link?.isOpen) return;
    const { label } = channel;
    if (!link.framed) return this.#fail(channel, `the peer is an older client without channel ${label}`);
    const id = this.#fresh <= LAST_ID ? (this.#fresh += 2) - 2 : this.#free.shift();
    if (id === undefined) return this.#fail(channel, `cannot open channel ${label}: too many channels on this connection`);
    const { ordered, maxRetransmits } = channel.config;
    this.#bind(channel, link, id, () => link.control(`open ${JSON.stringify({ label, id, ordered, maxRetransmits })}`));
  }

  /** Handles `open`: the peer has announced a channel on this link. */
  #opened(link: Link, json: string): void {
    const { label, id, ordered, maxRetransmits } = parseChannelWord(json);
    if (this.#isOurs(id) || id < FIRST_ID || id > LAST_ID || Number.isNaN(id))
      throw invalidValue('channel id', `one of the peer's ids, ${FIRST_ID} to ${LAST_ID}`, id);
    let channel = this.#channels.get(label);
    // if both peers announced the channel at the same time, the offerer's data channel is kept
    const isOurs = channel?.port !== undefined && this.#isOurs(channel.port.id);
    if (isOurs && this.#owner.isOfferer()) return;
    if (channel?.port && !isOurs && channel.readyState === 'closing') {
      // the peer has closed the previous channel too, and its `shut` is still in transit
      channel.end();
      channel = undefined;
    }
    if (channel?.port && !isOurs) throw invalidValue('channel label', 'announced once per link', label);
    if (this.#byId(id)) throw invalidValue('channel id', 'unused', id);
    const config = { ordered, ...(maxRetransmits !== undefined && { maxRetransmits }) };
    if (!channel) {
      this.#makeRoom();
      this.#owner.onChannel((channel = this.#make(label, config)));
    }
    // a `channel` listener may have closed the channel
    if (channel.readyState === 'closed') return link.control(`shut ${JSON.stringify({ label })}`);
    channel.reconfigure(config);
    const dataChannel = channel;
    this.#bind(channel, link, id, () => {
      link.control(`opened ${id}`);
      dataChannel.peerReady();
    });
  }

  /**
   * Makes room for another channel from the peer by closing a channel that the peer has not announced on this link.
   * @throws ConnectionError `too-large`
   */
  #makeRoom(): void {
    const theirs = [...this.#channels.values()].filter((channel) => !this.#ours.has(channel));
    if (theirs.length < MAX_OF_PEER) return;
    const idle = theirs.find(({ port }) => !port);
    if (!idle) throw new ConnectionError('too-large', `the peer opened more than ${MAX_OF_PEER} channels`);
    idle.end();
  }

  #bind(channel: RondevuChannel, link: Link, id: number, onOpen: () => void): void {
    let port: ChannelPort;
    try {
      port = new ChannelPort(link, channel, id);
    } catch (cause) {
      if (link.isOpen) this.#fail(channel, `cannot create channel ${channel.label}`, cause);
      return;
    }
    channel.bind(port, onOpen);
  }

  #peerShut(json: string): void {
    const { label } = parseChannelWord(json);
    this.#channels.get(label)?.end();
  }

  /** Sends `shut` for a locally closed channel, now or on the next link, unless the peer has sent or confirmed FIN. */
  #announceShut(channel: RondevuChannel): void {
    const { label } = channel;
    if (!this.#link?.isOpen) this.#unannounced.add(label);
    else if (!channel.isFinished) this.#link.control(`shut ${JSON.stringify({ label })}`);
  }

  #fail(channel: RondevuChannel, text: string, cause?: unknown): void {
    channel.emit('error', new ConnectionError('unsupported', text, { cause }));
    channel.end();
  }

  #byId(id: number): RondevuChannel | undefined {
    for (const channel of this.#channels.values()) if (channel.port?.id === id) return channel;
    return undefined;
  }

  #isOurs(id: number): boolean {
    return (id % 2 === 0) === this.#owner.isOfferer();
  }

  #all(act: (channel: RondevuChannel) => void): void {
    for (const channel of [...this.#channels.values()]) act(channel);
  }
}
