/** The public engine. */
export { Rondevu, type RondevuEvents } from './rondevu.js';
export type { Emitter, EventArgs } from './base/emitter.js';
export type { ConnectOptions, FindOptions, OfferFactoryResult, PublishOptions, RondevuOptions } from './options.js';
export { diagnose, type Check, type CheckName, type CheckStatus, type DiagnoseOptions, type Diagnosis } from './diagnose.js';
export { watchPage, type Hint } from './page.js';
export type { IcePreset, IceServersOption } from './ice-servers.js';
export { ConnectionError, NetworkError, RondevuError, ValidationError, type ErrorCode } from './errors.js';

export { RondevuConnection } from './connection/connection.js';
export type {
  ChannelConfig,
  ChannelConfig as DurableChannelConfig,
  ChannelEvents,
  ChannelEvents as DurableChannelEvents,
  RondevuChannel,
} from './connection/channel.js';
export type { ConnectionStats } from './connection/stats.js';
export type { OffererConnection } from './connection/offerer-connection.js';
export { AnswererConnection } from './connection/answerer-connection.js';
export { DEFAULT_CONNECTION_CONFIG, type ConnectionConfig } from './connection/connection-config.js';
export type { CloseOptions, ConnectionEvents, EndCode, Outcome, Peer, SendHandle } from './connection/connection-events.js';
export type { Health } from './connection/heartbeat.js';
export type { ConnectionState } from './connection/connection-state.js';
export {
  MessageBuffer,
  type BufferedMessage,
  type MessageBufferOptions,
  type MessageData,
  type Sendable,
} from './delivery/message-buffer.js';
export type { OfferPool } from './offers/offer-pool.js';
export type { OfferPoolEvents } from './offers/offer-pool-options.js';

export type { DurableConnectionConfig } from './legacy/durable/config.js';
export type {
  DurableService,
  DurableServiceConfig,
  DurableServiceEvents,
  PublishedAs,
  PublishedAs as ServiceInfo,
} from './legacy/durable/durable-service.js';
export type {
  ConnectionInfo,
  DurableConnection,
  DurableConnectionEvents,
  DurableState,
  DurableState as DurableConnectionState,
} from './legacy/durable/durable-connection.js';
export {
  ServerError,
  type ServerFailure,
  type BatchingOptions,
  type CallOptions,
  type RondevuAPI,
  type RpcBatcher,
  type RpcClient,
  type SignalingState,
} from './signaling/index.js';
export type {
  AnswerInfo,
  AnswerParams,
  CandidateInfo,
  GetServiceParams,
  IceServersResult,
  OfferInfo,
  PollResult,
  PublishParams,
  PublishResult,
  RpcMethod,
  RpcMethods,
  RpcParams,
  RpcRequest,
  RpcResponse,
  RpcResult,
  ServiceEntry,
  ServicePage,
  SignalParams,
  UserInfo,
  WireCandidate,
} from './protocol/rpc.js';
export type { Bytes } from './base/bytes.js';
export { ExponentialBackoff, type BackoffOptions } from './base/backoff.js';
export {
  IdentityChangedError,
  createIdentity,
  exportIdentity,
  importIdentity,
  type CryptoAdapter,
  type Keypair,
  type PinStore,
  type Signer,
} from './identity/index.js';
export { formatServiceName, parseServiceName, type ServiceName } from './protocol/service-name.js';

export type * from './legacy/types.js';
export type { ActiveConnections, OlderNames } from './legacy/older-types.js';
export type { Credentials, FetchFunction, UsernameCheckResult, UsernameClaimResult } from './legacy/accounts.js';
export type { OnConnection } from './legacy/raw.js';
