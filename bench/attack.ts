/**
 * Measures how one attacker affects other clients: how long 20 simultaneous joiners take to connect, alternately without an
 * attacker and while an attacker requests 50 offers per second and answers none of them. Prints the median of the ratios.
 * Usage: `npm run bench -- attack [chromium|firefox] [rounds]`.
 *
 * `npm run bench -- attack hostile [seconds]` measures how a client that makes every call at the limit of its allowance affects
 * `/health`, honest handshakes and memory; see bench/load/hostile.ts.
 */
import { createServer } from '../server/dist/index.js';
import { startAttack } from '../test/support/attack.ts';
import { launch, type BrowserName } from '../test/support/browsers.ts';
import { median } from '../test/support/median.ts';
import { blankPage, openPage, serveFiles } from '../test/support/site.ts';
import { until } from '../test/support/until.ts';

if (process.argv[2] === 'hostile') {
  const { runHostile } = await import('./load/hostile.ts');
  await runHostile(Number(process.argv[3] ?? 60));
  process.exit();
}

const JOINERS = 20;
const browserName = (process.argv[2] ?? 'chromium') as BrowserName;
const rounds = Number(process.argv[3] ?? 5);
const target = 'crowd:1.0.0@attacked';

const server = await createServer({ port: 0, host: 'localhost', storagePath: ':memory:', staticRoot: '.' });
const site = await serveFiles(() => ({ '/': { body: blankPage(server.url) } }));
const browser = await launch(browserName);
const host = await openPage(browser, site.url);
await host.evaluate(async (apiUrl) => {
  const service = document.createElement('rondevu-service');
  for (const [key, value] of Object.entries({ 'api-url': apiUrl, service: 'crowd:1.0.0', username: 'attacked' }))
    service.setAttribute(key, value);
  document.body.append(service);
  await service.ready;
}, server.url);

/**
 * Returns the time until all joiners are connected, in ms. Each call uses a new page, so that all measurements start under the
 * same conditions.
 */
async function crowd(): Promise<number> {
  await until(() => host.evaluate(() => document.querySelector('rondevu-service')!.offerCount >= 5), 'the pool to be full');
  const page = await openPage(browser, site.url);
  const time = await page.evaluate(
    async (apiUrl, to, count) => {
      const start = performance.now();
      const joiners = Array.from({ length: count }, () => {
        const joiner = document.createElement('rondevu-connect');
        for (const [key, value] of Object.entries({ 'api-url': apiUrl, to, identity: 'none' })) joiner.setAttribute(key, value);
        document.body.append(joiner);
        return joiner;
      });
      await Promise.all(joiners.map(({ ready }) => ready));
      return performance.now() - start;
    },
    server.url,
    target,
    JOINERS,
  );
  await page.close();
  await until(
    () => host.evaluate(() => document.querySelector('rondevu-service')!.connections.every((each) => !each.isConnected())),
    'the joiners to leave',
  );
  return time;
}

const times = { alone: [] as number[], attacked: [] as number[] };
for (let round = 0; round < rounds; round++) {
  times.alone.push(await crowd());
  const attack = await startAttack(server.url, target);
  await until(() => attack.asked > 20, 'the attack to start');
  times.attacked.push(await crowd());
  attack.stop();
  console.log(
    `  round ${round + 1}: ${times.alone[round]!.toFixed(0)} ms alone, ${times.attacked[round]!.toFixed(0)} ms attacked`,
  );
}
const ratio = median(times.attacked.map((time, round) => time / times.alone[round]!));
console.log(
  `${JOINERS} joiners beside an attacker: ${ratio.toFixed(2)} × alone (${median(times.alone).toFixed(0)} ms alone, ${median(times.attacked).toFixed(0)} ms attacked, ${rounds} rounds, ${browserName})`,
);

await browser.close();
await site.close();
await server.close();
