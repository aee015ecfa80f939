/**
 * What connections and pools need of signaling, as an interface: they never see how the server is reached.
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
   * An offer of the service, leased to us.
   * @param target its name, or its id
   * @param wait how long to stand in line, in ms
   * @param onWaiting called when the search goes on after a failure, and again when the kind of the failure changes
   */
  findOffer(target: string, wait: number, onWaiting: (reason: RondevuError) => void, signal: AbortSignal): Promise<ServiceEntry>;
  /** @throws RondevuError `already-answered`, `offer-gone` */
  answerOffer(entry: ServiceEntry, sdp: string): Promise<unknown>;
  addCandidates(serviceFqn: string, offerId: string, candidates: WireCandidate[]): Promise<unknown>;
  /** To a peer of a session, over the server. Never rejects: what is lost is lost. */
  signal(params: SignalParams): Promise<unknown>;
  /** Candidates of the other side, and `taken`, for one offer; returns how to stop. */
  watch(offerId: string, serviceFqn: string, answering: boolean, handlers: WatchHandlers): () => void;
  /** Whether `taken` will be told. */
  readonly tellsTaken: boolean;
  /** Whether publishing adds to the offers that are there; otherwise it replaces them (v0.5.4, and until the server is known). */
  keepsOffers(): boolean;
}

export interface WatchHandlers {
  onCandidates(candidates: CandidateInfo[]): void;
  onTaken?(): void;
}

/** The publishing side. */
export interface PublisherPort extends SignalingPort {
  /** Answers, demand and the need to publish again; returns how to stop. */
  subscribe(handlers: {
    onAnswer(answer: AnswerInfo): void;
    onDemand(demand: PushEvents['demand']): void;
    onReset(): void;
  }): () => void;
  publish(params: PublishParams): Promise<PublishResult>;
  /** @param last no offer of ours is left */
  withdraw(serviceFqn: string, offerIds: string[], last: boolean): Promise<unknown>;
  /** Whether an offer can be for one user alone. */
  keepsDirected(): boolean;
  /** Asks for answers now. Never rejects. */
  fetchAnswers(): Promise<unknown>;
}
