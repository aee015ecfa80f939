/** The addresses under which a listening server can be opened in a browser. */
import { networkInterfaces } from 'node:os';

/** Hosts that mean every address of this machine, with their address families. */
const ANY = new Map([
  ['0.0.0.0', ['IPv4']],
  ['::', ['IPv4', 'IPv6']],
  ['', ['IPv4', 'IPv6']],
]);

const urlOf = (host: string, port: number): string => `http://${host.includes(':') ? `[${host}]` : host}:${port}`;

/** @returns an address that this machine can open; a wildcard address cannot be opened, so it becomes localhost */
export const localUrl = (host: string, port: number): string => urlOf(ANY.has(host) ? 'localhost' : host, port);

/** @returns the addresses for other machines; empty unless the server listens on every address */
export function lanUrls(host: string, port: number, interfaces = networkInterfaces()): string[] {
  const families = ANY.get(host) ?? [];
  return (
    Object.values(interfaces)
      .flatMap((addresses) => addresses ?? [])
      // a link-local address needs a zone, which a URL cannot have
      .filter(({ family, internal, address }) => !internal && families.includes(family) && !/^fe80:/i.test(address))
      .map(({ address }) => urlOf(address, port))
  );
}
