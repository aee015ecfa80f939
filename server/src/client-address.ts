/**
 * Where a request comes from: the other end of the connection, or, where that is a proxy that the operator named, what it says
 * in X-Forwarded-For. Others' headers are not believed.
 */
import { BlockList, isIP, isIPv6 } from 'node:net';

/** Undefined for an empty list. @throws Error naming what is neither an address nor a range, such as 10.0.0.0/8 */
export function proxyList(ranges: string[]): BlockList | undefined {
  if (!ranges.length) return undefined;
  const list = new BlockList();
  for (const range of ranges) {
    const [address = '', bits, rest] = range.split('/');
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    const most = family === 'ipv6' ? 128 : 32;
    const prefix = bits === undefined ? most : Number(bits || NaN);
    if (!isIP(address) || rest !== undefined || !Number.isInteger(prefix) || prefix < 0 || prefix > most)
      throw new Error(`TRUSTED_PROXIES must be addresses or ranges such as 10.0.0.0/8, got "${range}"`);
    list.addSubnet(address, prefix, family);
  }
  return list;
}

/**
 * The client's address as it is counted: IPv4 as it is, IPv6 by its /64, which is what one customer has.
 * @param remote the other end of the connection
 * @param forwardedFor the header X-Forwarded-For, to which each proxy adds at the end
 */
export function clientAddress(remote: string, forwardedFor: string | undefined, proxies: BlockList | undefined): string {
  let address = plain(remote);
  for (const hop of proxies ? (forwardedFor ?? '').split(',').reverse() : []) {
    if (!isTrusted(address, proxies!)) break;
    const before = plain(hop.trim());
    // what is no address was not written by a proxy that can be relied on
    if (!isIP(before)) break;
    address = before;
  }
  return isIPv6(address) ? `${firstHalf(address)}::/64` : address;
}

function isTrusted(address: string, proxies: BlockList): boolean {
  const family = isIP(address);
  return family !== 0 && proxies.check(address, family === 6 ? 'ipv6' : 'ipv4');
}

/** Without a port, brackets or zone, and IPv4 as such. */
function plain(text: string): string {
  const bare = /^\[(.*)\](?::\d+)?$/.exec(text)?.[1] ?? (/^[\d.]+:\d+$/.test(text) ? text.slice(0, text.indexOf(':')) : text);
  return bare.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '');
}

function firstHalf(address: string): string {
  // the URL parser writes every address in one way
  const [head = '', tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::');
  const left = head ? head.split(':') : [];
  const right = tail ? tail.split(':') : [];
  const middle = tail === undefined ? [] : Array<string>(8 - left.length - right.length).fill('0');
  return [...left, ...middle, ...right].slice(0, 4).join(':');
}
