/**
 * WebRtcLink: a link over one RTCPeerConnection, with its message channel and control channel, and no state that outlives them.
 * After `close`, it calls no handler, even if the peer connection still fires events.
 */
import { Arrivals } from '../delivery/arrivals.js';
import { LOW_WATER } from '../delivery/delivery-port.js';
import { ConnectionError, asRondevuError, type ErrorCode } from '../errors.js';
import { MAX_CANDIDATES, isCandidate, parseSdp } from '../protocol/sdp.js';
import { remoteFingerprint } from './certificate.js';
import { ControlChannel } from './control-channel.js';
import { Heartbeat, type Health, type HeartbeatTimes } from './heartbeat.js';
import type { Link, LinkHandlers } from './link.js';

/** Fixed by docs/protocol.md, like the id of the control channel. */
const DATA_ID = 101;
/** Interval at which the raw states are checked, in ms: a peer connection that somebody else closes emits no event. */
const CHECK_INTERVAL = 1000;
/** How long a disconnected path of an old peer has to recover, in ms. */
const RECOVERY_TIME = 3000;
/**
 * How long a path that ICE found again may take until something is received, in ms. SCTP retransmits every 3 s at the latest, and
 * each retransmission may be lost: at 10 % loss, one case in 100 000 loses five in a row. Firefox closes its
 * channels after 25 s.
 */
const PATH_TIMEOUT = 12_000;
/** How long `finish` may take, in ms. */
const FINISH_TIMEOUT = 2000;
/** Message size that every platform supports, in bytes. */
const SAFE_MESSAGE_SIZE = 262_144;

export class WebRtcLink implements Link {
  readonly pc: RTCPeerConnection;
  /** The channel for messages: negotiated if both peers run this version, else in-band. */
  channel: RTCDataChannel | undefined;
  /** The in-band channel. If both peers run this version, the engine sends nothing on it. */
  raw: RTCDataChannel | undefined;
  /** Number of live links of this page or process: platforms refuse new peer connections beyond a few hundred. */
  static live = 0;
  onOpening: (() => boolean) | undefined;
  /** Called for each local candidate, regardless of the holder. */
  onCandidate: ((candidate: RTCIceCandidate) => void) | undefined;
  onLow: (() => void) | undefined;
  /** The peer uses frames on the negotiated channel. */
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
  /** Messages and control texts that arrived before the link was open and had a holder. */
  readonly #early = new Arrivals();
  readonly #earlyControl = new Arrivals();
  /** The fingerprints in the remote description; the certificate in use must match one of them. */
  #fingerprints: readonly string[] = [];
  #isCertified = false;
  #localCandidates: RTCIceCandidate[] = [];
  /** Candidates that arrived before the remote description. */
  #remoteCandidates: RTCIceCandidateInit[] | undefined = [];
  /** Number of candidates of the peer since the last description. */
  #candidateCount = 0;

  /**
   * The negotiated channel for messages; undefined for offers of a custom factory that did not request it: the application
   * uses its own channel.
   */
  durable: RTCDataChannel | undefined;

  /** @param Candidate class for the peer's candidates, if the platform does not take plain objects */
  constructor(pc: RTCPeerConnection, durable = true, Candidate?: typeof RTCIceCandidate) {
    WebRtcLink.live++;
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

  /** Makes the negotiated channel for messages. */
  addDurable(): void {
    this.durable = this.pc.createDataChannel('rondevu', { negotiated: true, id: DATA_ID });
  }

  attach(handlers: LinkHandlers, gatheringTimeout?: number): void {
    this.#handlers = handlers;
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

  /** `dead` without a heartbeat: an old peer, or a link that is not open. */
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
    // the overloads of RTCDataChannel.send do not take a union
    this.channel!.send(data as ArrayBuffer);
  }

  control(text: string): void {
    this.#control.send(text);
  }

  /** Adds a candidate of the peer, now or when its description is set. Malformed and excess candidates are ignored. */
  async addRemoteCandidate(init: RTCIceCandidateInit): Promise<void> {
    const candidate = checkedCandidate(init);
    if (!candidate || ++this.#candidateCount > MAX_CANDIDATES) return;
    if (this.#remoteCandidates) return void this.#remoteCandidates.push(candidate);
    try {
      await this.pc.addIceCandidate(this.#Candidate ? new this.#Candidate(candidate) : candidate);
    } catch {
      // the platform may not support its address family or transport; other candidates may work
    }
  }

  /**
   * @param framed whether the peer uses frames
   * @throws ValidationError if the description does not satisfy the grammar; DOMException if the platform rejects it
   */
  async setRemote(description: RTCSessionDescriptionInit, framed = this.framed): Promise<void> {
    this.#fingerprints = parseSdp(description.sdp ?? '').fp;
    // an in-band channel may lose its first message in Chromium 156; older clients have no other
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
   * @throws ConnectionError `unverified` if it has other fingerprints; otherwise as `setRemote`
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

  /** The ICE servers changed: the holder restarts ICE if the link carries messages. */
  renewPath(): void {
    if (this.isOpen) this.#handlers?.onSuspect?.();
  }

  /** ICE found a path, for the first time or again: waits until something is received on it. */
  pathFound(): void {
    this.#heartbeat?.wait(PATH_TIMEOUT);
  }

  /** Closing the peer connection first would drop buffered data. */
  async finish(): Promise<void> {
    const { channel, pc } = this;
    this.#handlers = undefined;
    if (channel && this.isOpen) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, FINISH_TIMEOUT);
        const done = () => (clearTimeout(timer), resolve());
        channel.onclose = done;
        // node-datachannel reports the end of the peer's connection, but not of its channels
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
    // Chromium 156 leaves about one in a hundred channels of the answering side "connecting" forever after their `open`
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
    // onOpen may have passed the link on or closed it
    if (!this.#handlers) return;
    for (const text of this.#earlyControl.takeAll()) this.#receive(text, true);
    for (const data of this.#early.takeAll()) this.#receive(data, false);
  }

  /**
   * Delivers data once the link is open, and keeps it before that: the certificate has not been compared yet, and Firefox may
   * deliver a message before it reports that the channel is open.
   */
  #receive(data: string | ArrayBuffer, isControl: boolean): void {
    if (!this.#handlers || !this.#isOpen) {
      if ((isControl ? this.#earlyControl : this.#early).add(data)) return;
      throw new ConnectionError('too-large', 'too much data before the channel opened');
    }
    if (isControl) this.#handlers.onControl(data as string);
    else this.#handlers.onMessage(data);
  }

  /** Compares the certificate in use with the description, if the platform reports it; RFC 8122 section 5. */
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

  /** A state is `failed`. Firefox closes the channels; Chromium may still find a path. While data arrives, it is wrong. */
  #failed(reason: string): void {
    if (!this.isAlive) this.#lost(reason);
  }

  /** ICE lost an old peer, which cannot be pinged. It may recover. */
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

/** The fields of a candidate for the platform; undefined if it is malformed, or for the end of candidates. */
function checkedCandidate({
  candidate,
  sdpMid,
  sdpMLineIndex,
  usernameFragment,
}: RTCIceCandidateInit): RTCIceCandidateInit | undefined {
  const text = String(candidate).replace(/^a=/, '');
  if (!isCandidate(text)) return undefined;
  if (typeof sdpMid === 'string' && !/^[\x21-\x7e]{0,64}$/.test(sdpMid)) return undefined;
  // wrtc would use null as a name
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
