/**
 * WebRtcLink: a link over one RTCPeerConnection, with a message channel and a control channel. None of its state outlives the
 * peer connection. After `close()`, the link calls no handler, even if the peer connection still fires events.
 */
import { Arrivals } from '../delivery/arrivals.js';
import { LOW_WATER } from '../delivery/delivery-port.js';
import { ConnectionError, asRondevuError, type ErrorCode } from '../errors.js';
import { MAX_CANDIDATES, isCandidate, parseSdp } from '../protocol/sdp.js';
import { remoteFingerprint } from './certificate.js';
import { ControlChannel } from './control-channel.js';
import { Heartbeat, type Health, type HeartbeatTimes } from './heartbeat.js';
import type { Link, LinkHandlers } from './link.js';

/** Stream id of the message channel, fixed by docs/protocol.md like the id of the control channel. */
const DATA_ID = 101;
/** Interval at which the raw states are checked, in ms: a peer connection that is closed by other code emits no event. */
const CHECK_INTERVAL = 1000;
/** How long a disconnected path to an older client may take to recover, in ms. */
const RECOVERY_TIME = 3000;
/**
 * How long to wait for data on a path that ICE has found, in ms. SCTP retransmits at least every 3 s, but each retransmission
 * may be lost: at 10 % packet loss, five consecutive losses occur in one case in 100 000. Firefox closes its data channels
 * after 25 s.
 */
const PATH_TIMEOUT = 12_000;
/** How long `finish` may take, in ms. */
const FINISH_TIMEOUT = 2000;
/** Message size that every platform supports, in bytes. */
const SAFE_MESSAGE_SIZE = 262_144;

export class WebRtcLink implements Link {
  readonly pc: RTCPeerConnection;
  /** The message channel: negotiated if both peers run this version, otherwise in-band. */
  channel: RTCDataChannel | undefined;
  /** The in-band data channel; if both peers run this version, only the application sends on this channel. */
  raw: RTCDataChannel | undefined;
  /** Number of live links in this page or process; platforms allow only a few hundred peer connections. */
  static live = 0;
  onOpening: (() => boolean) | undefined;
  /** Called for each local candidate, even if the link has no owner. */
  onCandidate: ((candidate: RTCIceCandidate) => void) | undefined;
  onLow: (() => void) | undefined;
  /** Whether the peer uses frames on the negotiated channel. */
  framed = false;
  times: HeartbeatTimes | undefined;
  #handlers: LinkHandlers | undefined;
  readonly #Candidate: typeof RTCIceCandidate | undefined;
  readonly #control: ControlChannel;
  readonly #watch: ReturnType<typeof setInterval>;
  #gatheringTimer: ReturnType<typeof setTimeout> | undefined;
  #heartbeat: Heartbeat | undefined;
  #isOpen = false;
  #closed = false;
  #isSuspect = false;
  /** Messages and control texts that arrived before the link was open and had an owner. */
  readonly #early = new Arrivals();
  readonly #earlyControl = new Arrivals();
  /** The fingerprints in the remote description; the certificate in use must match one of them. */
  #fingerprints: readonly string[] = [];
  #isCertified = false;
  #localCandidates: RTCIceCandidate[] = [];
  /** Remote candidates that arrived before the remote description. */
  #remoteCandidates: RTCIceCandidateInit[] | undefined = [];
  /** Number of candidates received from the peer since its last description. */
  #candidateCount = 0;

  /**
   * The negotiated message channel; undefined if a custom offer factory did not request it, because the application then uses
   * its own channel.
   */
  durable: RTCDataChannel | undefined;

  /**
   * @param Candidate class for the peer's candidates, if the platform does not accept plain objects
   * @throws DOMException if the platform cannot create a data channel; the peer connection is not closed
   */
  constructor(pc: RTCPeerConnection, durable = true, Candidate?: typeof RTCIceCandidate) {
    this.pc = pc;
    this.#Candidate = Candidate;
    if (durable) this.addDurable();
    this.#control = new ControlChannel(pc);
    this.#control.onText = this.guard((text) => this.#receive(text, true));
    this.#control.onBroken = (reason) => this.#broken(new ConnectionError('bad-request', reason));
    this.#control.onMessage = this.guard(() => this.#heartbeat?.touch());
    pc.onicecandidate = this.guard(({ candidate }) => {
      if (!candidate) return;
      this.#localCandidates.push(candidate);
      this.onCandidate?.(candidate);
      this.#handlers?.onLocalCandidate?.(candidate);
    });
    pc.onicegatheringstatechange = this.guard(() => this.#handlers?.onRaw?.('ice:gathering:state', pc.iceGatheringState));
    pc.oniceconnectionstatechange = this.guard(() => {
      const state = pc.iceConnectionState;
      this.#handlers?.onRaw?.('ice:connection:state', state);
      if (state === 'connected' || state === 'completed') {
        this.pathFound();
        this.#handlers?.onPath?.();
      }
      if (state === 'disconnected') void this.#suspect();
      if (state === 'failed') this.#failed('the path to the peer failed');
    });
    pc.onconnectionstatechange = this.guard(() => {
      this.#handlers?.onRaw?.('connection:state', pc.connectionState);
      this.#check();
    });
    pc.ondatachannel = this.guard(({ channel }) => {
      this.raw = channel;
      if (!this.framed) this.useChannel(channel);
    });
    this.#watch = setInterval(
      this.guard(() => this.#check()),
      CHECK_INTERVAL,
    );
    WebRtcLink.live++;
  }

  guard<A extends unknown[]>(handle: (...args: A) => void): (...args: A) => void {
    return (...args) => {
      try {
        handle(...args);
      } catch (error) {
        this.#broken(error);
      }
    };
  }

  /** Creates the negotiated message channel. */
  addDurable(): void {
    this.durable = this.pc.createDataChannel('rondevu', { negotiated: true, id: DATA_ID });
  }

  attach(handlers: LinkHandlers, gatheringTimeout?: number): void {
    this.#handlers = handlers;
    clearTimeout(this.#gatheringTimer);
    if (gatheringTimeout !== undefined)
      this.#gatheringTimer = setTimeout(
        this.guard(() => {
          if (this.pc.iceGatheringState !== 'complete') this.#handlers?.onRaw?.('ice:gathering:timeout');
        }),
        gatheringTimeout,
      );
    for (const candidate of this.#localCandidates) handlers.onLocalCandidate?.(candidate);
    if (this.#isOpen) this.#emitOpen();
    this.#check();
  }

  get isOpen(): boolean {
    return this.#isOpen && !this.#closed && this.channel?.readyState === 'open' && this.pc.connectionState !== 'closed';
  }

  /** Health of the link; `dead` if there is no heartbeat, because the peer is an older client or the link is not open. */
  get health(): Health {
    return this.#heartbeat?.health ?? 'dead';
  }

  get isAlive(): boolean {
    return this.health === 'alive';
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  get bufferedAmount(): number {
    return this.channel?.bufferedAmount ?? 0;
  }

  /** Maximum size of one message, in bytes. */
  get maxMessageSize(): number {
    return this.pc.sctp?.maxMessageSize || SAFE_MESSAGE_SIZE;
  }

  /** Local candidates so far. */
  get localCandidates(): readonly RTCIceCandidate[] {
    return this.#localCandidates;
  }

  /** Sets the in-band channel of a local offer. */
  useRaw(channel: RTCDataChannel): void {
    this.raw = channel;
    this.useChannel(channel);
  }

  useChannel(channel: RTCDataChannel): void {
    this.channel = channel;
    channel.binaryType = 'arraybuffer';
    channel.bufferedAmountLowThreshold = LOW_WATER;
    channel.onbufferedamountlow = this.guard(() => this.onLow?.());
    channel.onmessage = this.guard(({ data }: { data: string | ArrayBuffer }) => {
      this.#heartbeat?.touch();
      this.#receive(data, false);
    });
    channel.onclose = this.guard(() => this.#lost('the data channel was closed'));
    channel.onerror = this.guard((event) =>
      this.#handlers?.onRaw?.('datachannel:error', (event as RTCErrorEvent).error ?? event),
    );
    channel.onopen = this.guard(() => this.#opened(channel));
    if (channel.readyState === 'open') this.#opened(channel);
  }

  /** @throws DOMException if the channel is not open or its buffer is full */
  send(data: string | ArrayBuffer | Uint8Array): void {
    // the overloads of RTCDataChannel.send do not accept a union type
    this.channel!.send(data as ArrayBuffer);
  }

  control(text: string): void {
    this.#control.send(text);
  }

  /**
   * Adds a candidate from the peer, immediately or once the remote description is set. Malformed and excess candidates are
   * ignored.
   */
  async addRemoteCandidate(init: RTCIceCandidateInit): Promise<void> {
    const candidate = checkedCandidate(init);
    if (!candidate || ++this.#candidateCount > MAX_CANDIDATES) return;
    if (this.#remoteCandidates) return void this.#remoteCandidates.push(candidate);
    try {
      await this.pc.addIceCandidate(this.#Candidate ? new this.#Candidate(candidate) : candidate);
    } catch {
      // the platform may not support the candidate's address family or transport; other candidates may work
    }
  }

  /**
   * @param framed whether the peer uses frames
   * @throws ValidationError if the description violates the SDP grammar; DOMException if the platform rejects it
   */
  async setRemote(description: RTCSessionDescriptionInit, framed = this.framed): Promise<void> {
    this.#fingerprints = parseSdp(description.sdp ?? '').fp;
    // in Chromium 156, an in-band channel may lose its first message; only older clients need such a channel
    if (this.durable && framed && !this.framed) {
      this.framed = true;
      if (this.raw) silence(this.raw);
      this.useChannel(this.durable);
    }
    await this.pc.setRemoteDescription(description);
    const early = this.#remoteCandidates ?? [];
    this.#remoteCandidates = undefined;
    for (const candidate of early) await this.addRemoteCandidate(candidate);
  }

  /**
   * Sets the peer's description in a renegotiation of the same DTLS association (RFC 8842 section 5.5).
   * @throws ConnectionError `unverified` if the description has different fingerprints; any error that `setRemote` throws
   */
  async renegotiate(description: RTCSessionDescriptionInit): Promise<void> {
    const { fp } = parseSdp(description.sdp ?? '');
    if (String(fp) !== String(this.#fingerprints))
      throw new ConnectionError('unverified', `a renegotiation must keep the fingerprints ${this.#fingerprints}, got ${fp}`);
    this.#candidateCount = 0;
    await this.pc.setRemoteDescription(description);
  }

  async probe(ms: number): Promise<boolean> {
    if (!this.isOpen) return false;
    return this.framed ? this.#control.probe(ms) : this.pc.iceConnectionState !== 'disconnected';
  }

  createDataChannel(label: string, init: RTCDataChannelInit): RTCDataChannel {
    return this.pc.createDataChannel(label, init);
  }

  received(): void {
    this.#heartbeat?.touch();
  }

  checkNow(): void {
    this.#check();
    this.#heartbeat?.checkNow();
  }

  /** Requests an ICE restart from the owner if the link is open, because the ICE servers have changed. */
  renewPath(): void {
    if (this.isOpen) this.#handlers?.onSuspect?.();
  }

  /** Called when ICE has found a path: allows time for data to arrive before the link is reported as dead. */
  pathFound(): void {
    this.#heartbeat?.wait(PATH_TIMEOUT);
  }

  /** Closes the message channel before the peer connection, because the opposite order would drop buffered data. */
  async finish(): Promise<void> {
    const { channel, pc } = this;
    this.#handlers = undefined;
    if (channel && this.isOpen) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, FINISH_TIMEOUT);
        const done = () => (clearTimeout(timer), resolve());
        channel.onclose = done;
        // node-datachannel reports that the peer's connection was closed, but not that its channels were closed
        pc.onconnectionstatechange = () => pc.connectionState === 'closed' && done();
        channel.close();
      });
    }
    this.close();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    WebRtcLink.live--;
    this.#handlers = this.onCandidate = this.onLow = undefined;
    clearInterval(this.#watch);
    clearTimeout(this.#gatheringTimer);
    this.#heartbeat?.stop();
    const { pc } = this;
    pc.onicecandidate =
      pc.onicegatheringstatechange =
      pc.oniceconnectionstatechange =
      pc.onconnectionstatechange =
      pc.ondatachannel =
        null;
    for (const channel of [this.channel, this.durable]) {
      if (channel) silence(channel);
      channel?.close();
    }
    this.#control.close();
    pc.close();
  }

  #opened(channel: RTCDataChannel): void {
    if (this.#closed || this.#isOpen) return;
    if (this.onOpening?.()) return void setTimeout(this.guard(() => this.#opened(channel)));
    // in Chromium 156, about one in a hundred of the answerer's channels stays "connecting" forever after its `open` event
    if (channel.readyState !== 'open') return this.#lost('the data channel did not open');
    if (!this.#isCertified) return void this.#certify().then(this.guard((isGood) => void (isGood && this.#opened(channel))));
    this.#isOpen = true;
    if (this.framed && this.times) {
      this.#heartbeat = new Heartbeat(this.times, {
        ping: () => this.#control.ping(),
        onSuspect: this.guard(() => this.#handlers?.onSuspect?.()),
        onDead: this.guard(() => this.#handlers?.onDead()),
        onAlive: this.guard(() => this.#handlers?.onAlive?.()),
      });
    }
    this.#emitOpen();
  }

  #emitOpen(): void {
    if (!this.#handlers) return;
    this.#handlers.onOpen?.();
    // onOpen may have closed the link or passed it to another owner
    if (!this.#handlers) return;
    for (const text of this.#earlyControl.takeAll()) this.#receive(text, true);
    for (const data of this.#early.takeAll()) this.#receive(data, false);
  }

  /**
   * Delivers data if the link is open, and otherwise buffers it: the certificate may not have been compared yet, and Firefox
   * may deliver a message before it reports that the channel is open.
   */
  #receive(data: string | ArrayBuffer, isControl: boolean): void {
    if (!this.#handlers || !this.#isOpen) {
      if ((isControl ? this.#earlyControl : this.#early).add(data)) return;
      throw new ConnectionError('too-large', 'too much data before the channel opened');
    }
    if (isControl) this.#handlers.onControl(data as string);
    else this.#handlers.onMessage(data);
  }

  /**
   * Compares the peer's certificate with the fingerprints in its description, if the platform reports the certificate (RFC 8122
   * section 5).
   */
  async #certify(): Promise<boolean> {
    try {
      const used = await remoteFingerprint(this.pc);
      this.#isCertified = used === undefined || this.#fingerprints.includes(used);
      if (!this.#isCertified)
        this.#lost(`the certificate in use (${used}) is not the one in the description (${this.#fingerprints})`, 'unverified');
    } catch (error) {
      this.#lost(`cannot read the peer's certificate: ${(error as Error).message}`, 'unverified');
    }
    return this.#isCertified;
  }

  #check(): void {
    const { connectionState, signalingState } = this.pc;
    if (connectionState === 'closed' || signalingState === 'closed') this.#lost('the peer connection was closed');
    else if (connectionState === 'failed') this.#failed('the peer connection failed');
    else if (this.#isOpen && this.channel?.readyState === 'closed') this.#lost('the data channel was closed');
  }

  /**
   * Handles a `failed` state: Firefox closes the channels, but Chromium may still find a path. The state is ignored while data
   * is still arriving.
   */
  #failed(reason: string): void {
    if (!this.isAlive) this.#lost(reason);
  }

  /** Handles the ICE state `disconnected`: an older client cannot be pinged, so its path is given time to recover. */
  async #suspect(): Promise<void> {
    if (this.#heartbeat) return this.#heartbeat.checkNow();
    if (this.#isSuspect || !this.#isOpen) return;
    this.#isSuspect = true;
    await new Promise((resolve) => setTimeout(resolve, RECOVERY_TIME));
    this.#isSuspect = false;
    if (this.pc.iceConnectionState === 'disconnected') this.#lost('nothing received from the peer');
  }

  #lost(reason: string, code?: ErrorCode): void {
    if (!this.#closed) this.#handlers?.onLost(reason, code);
  }

  #broken(cause: unknown): void {
    try {
      const error = asRondevuError(cause, 'cannot handle data from the peer');
      if (this.#handlers) this.#handlers.onError(error);
      else this.close();
    } catch (error) {
      console.error('rondevu: a link was closed', error);
      this.close();
    }
  }
}

/** Returns the fields of a candidate for the platform; undefined for a malformed candidate or the end of candidates. */
function checkedCandidate({
  candidate,
  sdpMid,
  sdpMLineIndex,
  usernameFragment,
}: RTCIceCandidateInit): RTCIceCandidateInit | undefined {
  const text = String(candidate).replace(/^a=/, '');
  if (!isCandidate(text)) return undefined;
  if (typeof sdpMid === 'string' && !/^[\x21-\x7e]{0,64}$/.test(sdpMid)) return undefined;
  // fields that are null are omitted, because wrtc would treat a null `sdpMid` as a name
  return {
    candidate: text,
    ...(typeof sdpMid === 'string' && { sdpMid }),
    ...(Number.isInteger(sdpMLineIndex) && { sdpMLineIndex: sdpMLineIndex! }),
    ...(typeof usernameFragment === 'string' && /^[\w+/]{1,256}$/.test(usernameFragment) && { usernameFragment }),
  };
}

function silence(channel: RTCDataChannel): void {
  channel.onmessage = channel.onclose = channel.onerror = channel.onopen = channel.onbufferedamountlow = null;
}
