/**
 * Link: one RTCPeerConnection with its message channel and control channel, and nothing that outlives them. A connection
 * has many links in its life, one after the other. After `close` a link is silent, whatever its peer connection still does.
 */
import { isNegotiated } from '../protocol/sdp.js';
import { ControlChannel } from './control-channel.js';

/** What a link tells whoever holds it. */
export interface LinkHandlers {
  onOpen(): void;
  onMessage(data: string | ArrayBuffer): void;
  /** @param final the peer said that it closes for good */
  onLost(reason: string, final: boolean): void;
  /** ICE found a path. */
  onPath(): void;
  onLocalCandidate(candidate: RTCIceCandidate): void;
  /** For the events that tell raw states on. */
  onRaw(event: 'ice:connection:state' | 'ice:gathering:state' | 'connection:state' | 'datachannel:error', value: unknown): void;
}

/** Fixed by docs/protocol.md, as the control channel's id is. */
const DATA_ID = 101;
/** How often the raw states are looked at: a peer connection closed behind our back tells nobody. In ms. */
const WATCH_EVERY = 1000;
/** How long a disconnected path may take to show life, in ms. */
const PROBE = 3000;
/** How long a peer of ours may take to be recognised as one, in ms. */
const LEARN = 10_000;
/** How long an ending may take, in ms. */
const FINISH = 2000;

export class Link {
  readonly pc: RTCPeerConnection;
  /** The channel for messages: the negotiated one between two of ours, else the in-band one. */
  channel: RTCDataChannel | undefined;
  /** Live links of this page or process: platforms refuse new peer connections past a few hundred. */
  static live = 0;
  /** Told of each local candidate, whoever holds the link. */
  onCandidate: ((candidate: RTCIceCandidate) => void) | undefined;
  #handlers: LinkHandlers | undefined;
  readonly #control: ControlChannel;
  readonly #watch: ReturnType<typeof setInterval>;
  /** Messages go over the negotiated channel, because the other side has one too. */
  #negotiated = false;
  #isOpen = false;
  #closed = false;
  #doubted = false;
  /** The peer answered on the control channel. */
  #isOurs = false;
  /** What came before anybody listened. */
  #early: (string | ArrayBuffer)[] = [];
  #localCandidates: RTCIceCandidate[] = [];
  /** Candidates that came before the remote description. */
  #remoteCandidates: RTCIceCandidateInit[] | undefined = [];

  /** The negotiated channel for messages; undefined for offers of a custom factory, whose user works on a channel of his own. */
  readonly durable: RTCDataChannel | undefined;

  constructor(pc: RTCPeerConnection, durable = true) {
    Link.live++;
    this.pc = pc;
    if (durable) this.durable = pc.createDataChannel('rondevu', { negotiated: true, id: DATA_ID });
    this.#control = new ControlChannel(pc);
    pc.onicecandidate = ({ candidate }) => {
      if (!candidate) return;
      this.#localCandidates.push(candidate);
      this.onCandidate?.(candidate);
      this.#handlers?.onLocalCandidate(candidate);
    };
    pc.onicegatheringstatechange = () => this.#handlers?.onRaw('ice:gathering:state', pc.iceGatheringState);
    pc.oniceconnectionstatechange = () => {
      const state = pc.iceConnectionState;
      this.#handlers?.onRaw('ice:connection:state', state);
      if (state === 'connected' || state === 'completed') this.#handlers?.onPath();
      if (state === 'disconnected') void this.#doubt();
      if (state === 'failed') this.#lost('the path between the two failed');
    };
    pc.onconnectionstatechange = () => {
      this.#handlers?.onRaw('connection:state', pc.connectionState);
      this.#check();
    };
    pc.ondatachannel = ({ channel }) => this.#negotiated || this.useChannel(channel);
    this.#watch = setInterval(() => this.#check(), WATCH_EVERY);
  }

  /** Hands the link to a holder; what happened before is told to it now. */
  attach(handlers: LinkHandlers): void {
    this.#handlers = handlers;
    for (const candidate of this.#localCandidates) handlers.onLocalCandidate(candidate);
    if (this.#isOpen) this.#tellOpen();
    this.#check();
  }

  get isOpen(): boolean {
    return this.#isOpen && !this.#closed && this.channel?.readyState === 'open' && this.pc.connectionState !== 'closed';
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Local candidates so far. */
  get localCandidates(): readonly RTCIceCandidate[] {
    return this.#localCandidates;
  }

  useChannel(channel: RTCDataChannel): void {
    this.channel = channel;
    channel.binaryType = 'arraybuffer';
    channel.onmessage = ({ data }: { data: string | ArrayBuffer }) => {
      // Firefox may deliver a message before it tells that the channel is open, and nobody listens before that
      if (this.#handlers && this.#isOpen) this.#handlers.onMessage(data);
      else this.#early.push(data);
    };
    channel.onclose = () => this.#lost('the data channel was closed');
    channel.onerror = (event) => this.#handlers?.onRaw('datachannel:error', (event as RTCErrorEvent).error ?? event);
    channel.onopen = () => this.#opened(channel);
    if (channel.readyState === 'open') this.#opened(channel);
  }

  /** Adds a candidate of the other side, now or when its description is there. */
  async addRemoteCandidate(candidate: RTCIceCandidateInit): Promise<void> {
    if (this.#remoteCandidates) return void this.#remoteCandidates.push(candidate);
    try {
      await this.pc.addIceCandidate(candidate);
    } catch {
      // of an address family or transport that this platform does not have; others will do
    }
  }

  /** @throws DOMException when the description does not fit */
  async setRemote(description: RTCSessionDescriptionInit): Promise<void> {
    // an in-band channel may lose its first message in Chromium 156; older clients have no other
    if (this.durable && isNegotiated(description.sdp ?? '')) {
      this.#negotiated = true;
      const inBand = this.channel;
      if (inBand) inBand.onmessage = inBand.onclose = inBand.onerror = inBand.onopen = null;
      this.useChannel(this.durable);
    }
    await this.pc.setRemoteDescription(description);
    const early = this.#remoteCandidates ?? [];
    this.#remoteCandidates = undefined;
    for (const candidate of early) await this.addRemoteCandidate(candidate);
  }

  /** Whether the peer shows life within `ms`. One that never answered on the control channel is not ours and counts as alive while its states say so. */
  async probe(ms: number): Promise<boolean> {
    if (!this.isOpen) return false;
    return this.#isOurs ? this.#control.probe(ms) : this.pc.iceConnectionState !== 'disconnected';
  }

  /** Tells the peer that this is for good, lets the tail out, then ends. Closing the peer connection first would drop the tail. */
  async finish(): Promise<void> {
    const { channel } = this;
    this.#handlers = undefined;
    if (channel && this.isOpen) {
      // who never answered on the control channel will hardly begin now
      await this.#control.finish(this.#isOurs ? FINISH : FINISH / 8);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, FINISH);
        channel.onclose = () => (clearTimeout(timer), resolve());
        channel.close();
      });
    }
    this.close();
  }

  /** Ends everything, without a word to the holder. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    Link.live--;
    this.#handlers = this.onCandidate = undefined;
    clearInterval(this.#watch);
    const { pc, channel } = this;
    pc.onicecandidate =
      pc.onicegatheringstatechange =
      pc.oniceconnectionstatechange =
      pc.onconnectionstatechange =
      pc.ondatachannel =
        null;
    if (channel) channel.onmessage = channel.onclose = channel.onerror = channel.onopen = channel.onbufferedamountlow = null;
    this.#control.close();
    channel?.close();
    pc.close();
  }

  #opened(channel: RTCDataChannel): void {
    if (this.#closed || this.#isOpen) return;
    // Chromium 156 leaves about one in a hundred channels of the answering side "connecting" for ever after their `open`
    if (channel.readyState !== 'open') return this.#lost('the data channel did not open');
    this.#isOpen = true;
    void this.#control.probe(LEARN).then((ours) => (this.#isOurs ||= ours));
    this.#tellOpen();
  }

  #tellOpen(): void {
    if (!this.#handlers) return;
    this.#handlers.onOpen();
    // onOpen may have given the link away or closed it
    for (const data of this.#handlers ? this.#early.splice(0) : []) this.#handlers?.onMessage(data);
  }

  #check(): void {
    const { connectionState, signalingState } = this.pc;
    if (connectionState === 'closed' || signalingState === 'closed') this.#lost('the peer connection was closed');
    else if (connectionState === 'failed') this.#lost('the peer connection failed');
    else if (this.#isOpen && this.channel?.readyState === 'closed') this.#lost('the data channel was closed');
  }

  /** ICE lost sight of the peer. That may pass; a peer of ours can be asked, another one gets as long. */
  async #doubt(): Promise<void> {
    if (this.#doubted || !this.#isOpen) return;
    this.#doubted = true;
    const alive = this.#isOurs
      ? await this.probe(PROBE)
      : await new Promise<boolean>((resolve) => setTimeout(resolve, PROBE, false));
    this.#doubted = false;
    if (!alive && this.pc.iceConnectionState === 'disconnected') this.#lost('no sign of life from the peer');
  }

  #lost(reason: string): void {
    if (!this.#closed) this.#handlers?.onLost(reason, this.#control.peerEnds);
  }
}
