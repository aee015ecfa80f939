/**
 * Detects HTTP proxies set in the environment. Node's `fetch` and WebSocket bypass HTTP proxies unless Node is configured to
 * use them.
 */

/**
 * Returns a warning for the user if Node does not use the proxy that the environment specifies for this address; otherwise
 * returns undefined.
 * @param env environment variables of the process
 */
export function unusedProxy(apiUrl: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  if (!URL.canParse(apiUrl)) return undefined;
  const { protocol, hostname, port } = new URL(apiUrl);
  // Node 22.21 and Node 24.5 added support for NODE_USE_ENV_PROXY; older versions ignore it
  if (env['NODE_USE_ENV_PROXY'] === '1' && usesEnvironment(process.versions.node)) return undefined;
  const name = [`${protocol.slice(0, -1)}_proxy`, 'all_proxy'].find((lower) => env[lower] || env[lower.toUpperCase()]);
  if (!name || isExempt(hostname, port, env['no_proxy'] ?? env['NO_PROXY'] ?? '')) return undefined;
  const variable = env[name] ? name : name.toUpperCase();
  return (
    `${variable} sets an HTTP proxy that is not used: requests to ${hostname} bypass it. ` +
    'With Node 22.21, 24.5 or newer, NODE_USE_ENV_PROXY=1 sends HTTP through it (not the push socket; polling replaces it). ' +
    `If ${hostname} is reachable without the proxy, add it to NO_PROXY`
  );
}

function usesEnvironment(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > 24 || (major === 24 && minor >= 5) || (major === 22 && minor >= 21);
}

/**
 * Interprets NO_PROXY as curl does: domains including their subdomains, with or without a port, or `*`. Loopback addresses are
 * exempt.
 */
function isExempt(hostname: string, port: string, list: string): boolean {
  if (hostname === 'localhost' || hostname === '[::1]' || hostname.startsWith('127.')) return true;
  return list
    .split(/[\s,]/)
    .map((entry) => entry.toLowerCase())
    .some((entry) => {
      const [name = '', only] = entry.startsWith('[') ? [entry] : entry.split(':');
      const bare = name.startsWith('.') ? name.slice(1) : name;
      if (only !== undefined && only !== port) return false;
      return bare === '*' || (bare !== '' && (hostname === bare || hostname.endsWith(`.${bare}`)));
    });
}
