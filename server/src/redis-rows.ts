/** Converts Redis hashes to the row types of store.ts. Empty fields become undefined. */
import type { Reply } from './redis-connection.js';
import type { FoundService, OfferRow, ServiceRow, UserRow } from './store.js';

export type Hash = Record<string, string>;

/** Converts the flat list of fields and values in a reply to an object, which is empty if the Redis key does not exist. */
export function toHash(reply: Reply): Hash {
  const hash: Hash = {};
  if (Array.isArray(reply)) for (let i = 0; i < reply.length; i += 2) hash[String(reply[i])] = String(reply[i + 1]);
  return hash;
}

export function toUser(hash: Hash): UserRow | undefined {
  if (hash['publicKey'] === undefined) return undefined;
  return {
    username: hash['username']!,
    publicKey: hash['publicKey'],
    claimedAt: Number(hash['claimedAt']),
    expiresAt: Number(hash['expiresAt']),
    lastV2At: Number(hash['lastV2At']),
  };
}

export function toService(hash: Hash): ServiceRow | undefined {
  if (hash['serviceId'] === undefined) return undefined;
  return {
    ...toFound(hash),
    /** The metadata is parsed on access, because parsing may take longer than the rest of the call. */
    get metadata(): unknown {
      return hash['metadata'] ? JSON.parse(hash['metadata']) : undefined;
    },
  };
}

export function toFound(hash: Hash): FoundService {
  return {
    serviceId: hash['serviceId']!,
    username: hash['username']!,
    publicKey: hash['publicKey']!,
    name: hash['name']!,
    version: hash['version']!,
    serviceFqn: hash['serviceFqn']!,
    hidden: hash['hidden'] === '1',
    createdAt: Number(hash['createdAt']),
    expiresAt: Number(hash['expiresAt']),
  };
}

export function toOffer(hash: Hash): OfferRow | undefined {
  if (hash['offerId'] === undefined) return undefined;
  return {
    offerId: hash['offerId'],
    serviceId: hash['serviceId']!,
    serviceFqn: hash['serviceFqn']!,
    username: hash['username']!,
    publicKey: hash['publicKey'] ?? '',
    ...(hash['instance'] && { instance: hash['instance'] }),
    sdp: hash['sdp']!,
    createdAt: Number(hash['createdAt']),
    expiresAt: Number(hash['expiresAt']),
    ...(hash['leaseUser'] && { leaseHolder: hash['leaseUser'] }),
    leaseUntil: Number(hash['leaseUntil']),
    ...(hash['answerUser'] && {
      answer: {
        username: hash['answerUser'],
        publicKey: hash['answerKey']!,
        ...(hash['answerInstance'] && { instance: hash['answerInstance'] }),
        sdp: hash['answerSdp']!,
        answeredAt: Number(hash['answeredAt']),
        isGiven: hash['answerGiven'] !== undefined,
      },
    }),
  };
}
