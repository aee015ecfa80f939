/** Builds the URLs at which a browser can reach a listening server. */
import { networkInterfaces } from 'node:os';

/** Wildcard hosts, which stand for every address of this machine, with the address families that they cover. */
const ANY = new Map([
  ['0.0.0.0', ['IPv4']],
  ['::', ['IPv4', 'IPv6']],
  ['', ['IPv4', 'IPv6']],
]);

const urlOf = (host: string, port: number): string => `http://${host.includes(':') ? `[${host}]` : host}:${port}`;

/** @returns a URL that this machine can open; a wildcard host is replaced by localhost */
export const localUrl = (host: string, port: number): string => urlOf(ANY.has(host) ? 'localhost' : host, port);

/** @returns the URLs for other machines; empty unless the server listens on a wildcard host */
export function lanUrls(host: string, port: number, interfaces = networkInterfaces()): string[] {
  const families = ANY.get(host) ?? [];
  return (
    Object.values(interfaces)
      .flatMap((addresses) => addresses ?? [])
      // an IPv6 link-local address needs a zone ID, which the URL Standard does not allow
      .filter(({ family, internal, address }) => !internal && families.includes(family) && !/^fe80:/i.test(address))
      .map(({ address }) => urlOf(address, port))
  );
}
