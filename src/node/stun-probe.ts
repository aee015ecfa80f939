/**
 * Checks whether a STUN or TURN server answers a Binding request over UDP; any reply with the same transaction id counts. RFC
 * 8489.
 */
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';

const BINDING_REQUEST = 0x0001;
const MAGIC_COOKIE = 0x2112a442;
/** Interval at which the request is retransmitted in case a packet was lost, in ms. RFC 8489 section 6.2.1. */
const AGAIN_AFTER = 500;

/** @returns false if no reply arrives within `ms`, or if the host cannot be resolved. Never rejects */
export async function answersUdp(host: string, port: number, ms: number): Promise<boolean> {
  if (!(port > 0 && port < 65_536)) return false;
  const request = Buffer.alloc(20);
  request.writeUInt16BE(BINDING_REQUEST, 0);
  request.writeUInt32BE(MAGIC_COOKIE, 4);
  randomBytes(12).copy(request, 8);
  const found = await lookup(host).catch(() => undefined);
  if (!found) return false;
  const socket = createSocket(found.family === 6 ? 'udp6' : 'udp4');
  return new Promise((resolve) => {
    const send = (): void => socket.send(request, port, found.address, () => undefined);
    const done = (answered: boolean) => (): void => {
      clearInterval(again);
      clearTimeout(timer);
      socket.close();
      resolve(answered);
    };
    const again = setInterval(send, AGAIN_AFTER);
    const timer = setTimeout(done(false), ms);
    // errors do not end the probe, because sending may be blocked for only one of the addresses
    socket.on('error', () => undefined);
    socket.on('message', (reply) => {
      if (reply.length >= 20 && reply.subarray(4, 20).equals(request.subarray(4, 20))) done(true)();
    });
    send();
  });
}
