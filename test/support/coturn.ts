/** Runs a real coturn server on free ports. */
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { temporaryFolder } from './folders.js';

/** Reason why coturn is unavailable; undefined if it is installed. CI requires coturn. */
export function coturnMissing(): string | undefined {
  const found = ['turnserver', 'turnutils_uclient'].every((name) => spawnSync('which', [name]).status === 0);
  if (found || process.env['CI']) return undefined;
  return 'coturn is not installed: apt-get install coturn';
}

async function freeUdpPort(): Promise<number> {
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  return port;
}

/** Resolves when a STUN server (RFC 8489) answers at the given address and port. */
async function answers(address: string, port: number): Promise<void> {
  const socket = createSocket('udp4');
  const request = Buffer.from(`000100002112a442${randomBytes(12).toString('hex')}`, 'hex');
  const ask = setInterval(() => socket.send(request, port, address), 50);
  socket.on('error', () => undefined); // nobody listens yet
  await once(socket, 'message');
  clearInterval(ask);
  socket.close();
}

/** A non-loopback address of this machine for relaying: browsers ignore loopback addresses. */
export function machineAddress(): string {
  const found = Object.values(networkInterfaces())
    .flat()
    .find((address) => address?.family === 'IPv4' && !address.internal);
  return found?.address ?? '127.0.0.1';
}

export interface Coturn {
  readonly port: number;
  /** Whether coturn grants its bundled client an allocation for these credentials. */
  allocates(credentials: { username: string; credential: string }): boolean;
}

/**
 * Starts a coturn that accepts credentials made with any of the secrets, and stops it when the test ends.
 * @param address IP address on which coturn listens and relays
 */
export async function startCoturn(t: TestContext, secrets: string[], address = '127.0.0.1'): Promise<Coturn> {
  const folder = temporaryFolder(t);
  const port = await freeUdpPort();
  const args = ['-n', `--listening-ip=${address}`, `--listening-port=${port}`, `--relay-ip=${address}`, '--use-auth-secret'];
  args.push(...secrets.map((secret) => `--static-auth-secret=${secret}`), '--realm=test', '--allow-loopback-peers', '--no-cli');
  args.push('--no-tls', '--no-dtls', `--pidfile=${join(folder, 'pid')}`, `--userdb=${join(folder, 'db')}`, '--log-file=stdout');
  const child = spawn('turnserver', args, { stdio: 'ignore' });
  t.after(async () => {
    if (child.exitCode === null && child.kill('SIGKILL')) await once(child, 'exit');
  });
  const allocates: Coturn['allocates'] = ({ username, credential }) => {
    const client = ['-u', username, '-w', credential, '-p', String(port), '-y', '-c', '-n', '1', '-m', '1', address];
    return spawnSync('turnutils_uclient', client, { stdio: 'ignore', timeout: 30_000 }).status === 0;
  };
  await answers(address, port);
  return { port, allocates };
}
