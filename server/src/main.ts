#!/usr/bin/env node
/**
 * Entry point of the `rondevu-server` command: reads the settings, starts the server, prints its address, and stops the server
 * on SIGTERM or SIGINT.
 */
import { lanUrls } from './addresses.js';
import { HELP, readConfig } from './config.js';
import { createServer } from './index.js';
import { createLog } from './log.js';

try {
  const config = readConfig(process.argv.slice(2), process.env);
  if (config === 'help') {
    console.log(HELP);
    process.exit(0);
  }
  // Node prints warnings as plain text, which must not be mixed into the log
  const log = createLog(config.logLevel, config.logFormat);
  process.removeAllListeners('warning');
  process.on('warning', (err) => log.warn({ err }, 'Node warning'));
  const server = await createServer(config);
  // signal handlers are installed before the address is printed: a parent may send a signal once it reads the address
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.once(signal, () => void server.close().then(() => process.exit(0)));
  console.log(`Rondevu server on ${server.url} (storage: ${config.redisUrl ? 'Redis' : config.storagePath})`);
  for (const url of lanUrls(config.host, server.port)) console.log(`For other machines: ${url}`);
  if (config.staticRoot)
    console.log(`Open ${server.url}/demo/ in a browser: that tab hosts a chat and shows a link for a second tab.`);
  if (!config.publicUrls.length)
    console.log(
      'PUBLIC_URL is not set: signatures are bound to the Host of each request. Fine on this machine; set it in production.',
    );
} catch (error) {
  console.error(`rondevu-server: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(1);
}
