/**
 * Runs a server as a child process that reports, on request, its heap size after a garbage collection. The process must be
 * started with --expose-gc.
 */
import { createServer, DEFAULT_LIMITS } from '../../server/src/index.js';

// the flood must not reach the rate limits, which have their own tests
const limits = { ...DEFAULT_LIMITS, pointsPerAddress: 1e12, pointsPerKey: 1e12, claimsPerAddress: 1e12 };
const server = await createServer({
  ...{ port: 0, host: '127.0.0.1', storagePath: ':memory:', logLevel: 'error', limits },
  // with a trusted proxy, the server reads forwarded addresses
  trustedProxies: ['127.0.0.1'],
});

process.on('message', () => {
  globalThis.gc!();
  globalThis.gc!();
  process.send!({ heap: process.memoryUsage().heapUsed });
});
process.on('disconnect', () => process.exit());
process.send!({ url: server.url });
