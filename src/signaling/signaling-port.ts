/**
 * Signaling interface for connections and offer pools, independent of the transport to the server.
 */
import type { RondevuError } from '../errors.js';
import type {
  AnswerInfo,
  CandidateInfo,
  PublishParams,
  PublishResult,
  PushEvents,
  ServiceEntry,
  SignalParams,
  WireCandidate,
} from '../protocol/rpc.js';

export interface SignalingPort {
  /**
   * Gets an offer of the service, leased to this client.
   * @param target name or id of the service
   * @param wait how long to wait in the queue, in ms
   * @param onWaiting called when the search continues after a failure, and again when the kind of the failure changes
   */
  findOffer(target: string, wait: number, onWaiting: (reason: RondevuError) => void, signal: AbortSignal): Promise<ServiceEntry>;
  /** @throws RondevuError `already-answered`, `offer-gone` */
  answerOffer(entry: ServiceEntry, sdp: string): Promise<unknown>;
  addCandidates(serviceFqn: string, offerId: string, candidates: WireCandidate[]): Promise<unknown>;
  /** Sends a signal to the peer of a session through the server. Never rejects: a signal may be lost. */
  signal(params: SignalParams): Promise<unknown>;
  /** Subscribes to the peer's candidates and to `taken` for one offer; returns a function that unsubscribes. */
  watch(offerId: string, serviceFqn: string, answering: boolean, handlers: WatchHandlers, polling: PollingOptions): () => void;
  /** Whether the server reports `taken`, so that `onTaken` is called. */
  readonly sendsTaken: boolean;
  /** Whether publishing adds to the existing offers; with v0.5.4, and until the server version is known, it replaces them. */
  keepsOffers(): boolean;
}

/** Settings for polling candidates if the server cannot push them; times in ms. */
export interface PollingOptions {
  icePollingInterval: number;
  icePollingTimeout: number;
}

export interface WatchHandlers {
  onCandidates(candidates: CandidateInfo[]): void;
  onTaken?(): void;
}

/** The interface for publishers. */
export interface PublisherPort extends SignalingPort {
  /** Subscribes to answers, demand and requests to publish again; returns a function that unsubscribes. */
  subscribe(handlers: {
    onAnswer(answer: AnswerInfo): void;
    onDemand(demand: PushEvents['demand']): void;
    onReset(): void;
  }): () => void;
  publish(params: PublishParams): Promise<PublishResult>;
  /** @param last whether no free offer of the service remains */
  withdraw(serviceFqn: string, offerIds: string[], last: boolean): Promise<unknown>;
  /** Whether the server supports offers reserved for one user. */
  keepsDirected(): boolean;
  /** Polls for answers now. Never rejects. */
  fetchAnswers(): Promise<unknown>;
}
