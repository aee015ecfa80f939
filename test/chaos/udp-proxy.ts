/**
 * A seeded UDP proxy between two WebRTC ends. Each ICE generation gets a pair of sockets, one facing each end; an end receives
 * only the address of the socket that faces it, so ICE cannot bypass the proxy. The proxy can drop, delay, duplicate and
 * reorder packets, blackhole one or both directions, and rebind its ports. Peer connections request the sockets themselves: see
 * rigged-peer-connection.ts.
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import { Random } from '../support/random.js';

export type Side = 'offerer' | 'answerer';
const OTHER = { offerer: 'answerer', answerer: 'offerer' } as const;

/** Network conditions: probabilities from 0 to 1, times in ms. */
export interface Weather {
  drop: number;
  duplicate: number;
  /** Probability that a packet is delayed by twice the `delay`. */
  reorder: number;
  delay: number;
  /** Ends whose outgoing packets are dropped. */
  blackhole: readonly Side[];
  /**
   * If set, only STUN packets (RFC 7983: first byte 0 to 3) pass: ICE stays connected while SCTP stalls, as after a series of
   * losses.
   */
  onlyStun: boolean;
}
const FAIR: Weather = { drop: 0, duplicate: 0, reorder: 0, delay: 0, blackhole: [], onlyStun: false };

interface End {
  /** Faces this end. */
  socket: Socket;
  /** Source address of the first packet; packets from other addresses are dropped. */
  address: { address: string; port: number } | undefined;
}

/** Returns an interface address, because Chromium and Firefox gather no candidates for loopback addresses. */
function interfaceAddress(): string {
  const found = Object.values(networkInterfaces())
    .flat()
    .find((address) => address?.family === 'IPv4' && !address.internal);
  return found?.address ?? '127.0.0.1';
}

class Path {
  readonly ends: Record<Side, End>;
  readonly #proxy: UdpProxy;

  constructor(proxy: UdpProxy, sockets: Record<Side, Socket>) {
    this.#proxy = proxy;
    this.ends = {
      offerer: { socket: sockets.offerer, address: undefined },
      answerer: { socket: sockets.answerer, address: undefined },
    };
    for (const side of ['offerer', 'answerer'] as const) this.#listen(side);
  }

  /** Opens a new socket, so that packets arrive from a different port, as after a NAT has dropped a mapping. */
  async rebind(side: Side): Promise<void> {
    const old = this.ends[side].socket;
    this.ends[side].socket = await this.#proxy.open();
    this.#listen(side);
    old.close();
  }

  close(): void {
    for (const { socket } of Object.values(this.ends)) socket.close();
  }

  #listen(side: Side): void {
    const end = this.ends[side];
    end.socket.on('message', (packet, from) => {
      end.address ??= { address: from.address, port: from.port };
      if (from.port !== end.address.port || from.address !== end.address.address) return;
      if (this.#proxy.weather.onlyStun && packet[0]! > 3) return;
      this.#proxy.pass(side, () => this.#forward(OTHER[side], packet));
    });
  }

  #forward(to: Side, packet: Buffer): void {
    const { socket, address } = this.ends[to];
    try {
      if (address) socket.send(packet, address.port, address.address);
    } catch {
      // the socket was closed in the meantime: the packet is lost
    }
  }
}

export class UdpProxy {
  weather: Weather = FAIR;
  /** Numbers of forwarded and dropped packets. */
  forwarded = 0;
  lost = 0;
  /** URL at which peer connections request their sockets. */
  url = '';
  readonly #random: Random;
  readonly #address = interfaceAddress();
  readonly #paths = new Map<string, Promise<Path>>();
  readonly #http: Server;

  private constructor(seed: number) {
    this.#random = new Random(seed);
    this.#http = createServer((request, response) => {
      const { searchParams } = new URL(request.url ?? '/', 'http://rig');
      const side = searchParams.get('side') as Side;
      response.setHeader('access-control-allow-origin', '*');
      void this.#path(searchParams.get('key') ?? '').then((path) => {
        response.end(`${this.#address} ${path.ends[side].socket.address().port}`);
      });
    });
  }

  static async start(seed: number): Promise<UdpProxy> {
    const proxy = new UdpProxy(seed);
    proxy.#http.listen(0, 'localhost');
    await once(proxy.#http, 'listening');
    proxy.url = `http://localhost:${(proxy.#http.address() as AddressInfo).port}`;
    return proxy;
  }

  /** Changes the conditions; unset fields return to their defaults. */
  set(weather: Partial<Weather> = {}): void {
    this.weather = { ...FAIR, ...weather };
  }

  /** Changes the port of the socket that faces the given end, on every path. */
  async rebind(side: Side): Promise<void> {
    for (const path of this.#paths.values()) await (await path).rebind(side);
  }

  async open(): Promise<Socket> {
    const socket = createSocket('udp4');
    socket.on('error', () => undefined); // sending to a closed page causes an error
    socket.bind(0, this.#address);
    await once(socket, 'listening');
    socket.setRecvBufferSize(4 << 20);
    socket.setSendBufferSize(4 << 20);
    return socket;
  }

  /** Applies the conditions to one packet from an end. */
  pass(from: Side, forward: () => void): void {
    const { drop, duplicate, reorder, delay, blackhole } = this.weather;
    if (blackhole.includes(from) || (drop && this.#random.next() < drop)) return void this.lost++;
    this.forwarded++;
    const copies = duplicate && this.#random.next() < duplicate ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      const late = reorder && this.#random.next() < reorder ? delay : 0;
      if (delay + late > 0) setTimeout(forward, delay + late);
      else forward();
    }
  }

  async close(): Promise<void> {
    this.#http.closeAllConnections();
    this.#http.close();
    for (const path of this.#paths.values()) (await path).close();
  }

  #path(key: string): Promise<Path> {
    let path = this.#paths.get(key);
    if (!path) {
      path = Promise.all([this.open(), this.open()]).then(([offerer, answerer]) => new Path(this, { offerer, answerer }));
      this.#paths.set(key, path);
    }
    return path;
  }
}
