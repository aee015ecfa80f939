#!/usr/bin/env node
/** The command `rondevu-server`: reads the settings, starts, says where it listens, stops on SIGTERM and SIGINT. */
import { HELP, readConfig } from './config.js';
import { createServer } from './index.js';

try {
  const config = readConfig(process.argv.slice(2), process.env);
  if (config === 'help') {
    console.log(HELP);
    process.exit(0);
  }
  const server = await createServer(config);
  // before anybody is told that it is there
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.once(signal, () => void server.close().then(() => process.exit(0)));
  console.log(`Rondevu server on ${server.url} (storage: ${config.storagePath})`);
  if (config.staticRoot) console.log(`Open ${server.url}/demo/ in two tabs, and chat.`);
  if (!config.publicUrls.length)
    console.log('PUBLIC_URL is not set: signatures are bound to whatever Host a request names. Fine here, set it in production.');
} catch (error) {
  console.error(`rondevu-server: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(1);
}
