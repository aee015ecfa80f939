/**
 * The network address of a client: the remote address of the connection or, if that is a proxy configured by the operator, the
 * address in its `X-Forwarded-For` header. `X-Forwarded-For` is ignored if the connection does not come from a configured
 * proxy.
 */
import { BlockList, isIP, isIPv6 } from 'node:net';

/**
 * Parses the configured proxy addresses and ranges; returns undefined for an empty list.
 * @throws Error naming the first item that is neither an IP address nor a range such as 10.0.0.0/8
 */
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

/** Maximum number of `X-Forwarded-For` entries that are examined, counted from the end. */
const MAX_HOPS = 32;
/** Maximum length of an address, in characters. */
const MAX_LENGTH = 64;

/**
 * Returns the client's address in the form used for limits: IPv4 in dotted form, even if embedded in an IPv6 address; IPv6 as
 * its /64 prefix, which usually belongs to one customer.
 * @param remote remote address of the connection
 * @param forwardedFor the `X-Forwarded-For` header, to which each proxy appends an address
 */
export function clientAddress(remote: string, forwardedFor: string | undefined, proxies: BlockList | undefined): string {
  let address = plain(remote);
  const hops = proxies && forwardedFor ? forwardedFor.split(',').slice(-MAX_HOPS).reverse() : [];
  for (const hop of hops) {
    if (!isInList(address, proxies!)) break;
    const before = plain(hop.trim());
    // a reliable proxy writes only IP addresses
    if (!isIP(before)) break;
    address = before;
  }
  return isIPv6(address) ? `${groupsOf(address).slice(0, 4).join(':')}::/64` : address;
}

/** Whether a remote address is a loopback address. */
export const isLoopback = (remote: string): boolean => /^(::1|127\.\d+\.\d+\.\d+)$/.test(plain(remote));

/** Whether a connection comes from a configured proxy. */
export const isTrusted = (remote: string, proxies: BlockList | undefined): boolean =>
  proxies !== undefined && isInList(plain(remote), proxies);

function isInList(address: string, proxies: BlockList): boolean {
  const family = isIP(address);
  return family !== 0 && proxies.check(address, family === 6 ? 'ipv6' : 'ipv4');
}

/**
 * Strips the port, brackets and zone from an address, and converts an embedded IPv4 address to dotted form. For any other text,
 * the result is not an IP address.
 */
function plain(text: string): string {
  if (text.length > MAX_LENGTH) return '';
  const bracketed = /^\[([^\]]*)\](?::\d+)?$/.exec(text)?.[1];
  const bare = (bracketed ?? (/^[\d.]+:\d+$/.test(text) ? text.slice(0, text.indexOf(':')) : text)).split('%', 1)[0]!;
  return (isIPv6(bare) && embeddedIPv4(groupsOf(bare))) || bare;
}

/** Converts two 16-bit groups in hex to a dotted IPv4 address. */
const dotted = (high: string, low: string): string => {
  const [a, b] = [Number.parseInt(high, 16), Number.parseInt(low, 16)];
  return [a >> 8, a & 255, b >> 8, b & 255].join('.');
};

/**
 * The IPv4 address embedded in an IPv6 address: mapped (RFC 4291 section 2.5.5.2), translated (RFC 2765 section 2.1, RFC 6052
 * section 2.1) or 6to4 (RFC 3056 section 2). A 6to4 prefix contains 65 536 /64 prefixes but belongs to one owner.
 */
function embeddedIPv4(groups: string[]): string | undefined {
  const [first, second] = groups as [string, string];
  const last = [groups[6]!, groups[7]!] as const;
  const head = groups.slice(0, 6).join(':');
  if (['0:0:0:0:0:ffff', '0:0:0:0:ffff:0', '64:ff9b:0:0:0:0'].includes(head)) return dotted(...last);
  if (first === '2002') return dotted(second, groups[2]!);
  return undefined;
}

/** The eight groups of an IPv6 address, in hex without leading zeros. */
function groupsOf(address: string): string[] {
  // the URL parser normalizes IPv6 addresses
  const [head = '', tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::');
  const left = head ? head.split(':') : [];
  const right = tail ? tail.split(':') : [];
  const middle = tail === undefined ? [] : Array<string>(8 - left.length - right.length).fill('0');
  return [...left, ...middle, ...right];
}
