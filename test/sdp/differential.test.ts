/**
 * Compares the engine's SDP parser with the platforms' parsers. Two parsers that accept the same description must interpret it
 * in the same way; otherwise a malicious signaling server could show one peer to the verifier and a different peer to the
 * platform. `SDP_MUTANTS=200000` sets the number of descriptions; `SDP_SEED` replays a run.
 */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { isCandidate, parseSdp, type SdpDescription } from '../../src/protocol/sdp.js';
import { seedOf } from '../support/random.js';
import { EVIL, Mutants } from './mutants.js';
import { browserPlatform, nodePlatform, type Platform } from './platforms.js';

/** Number of descriptions in a CI run. */
const USUAL = 5000;
const COUNT = Number(process.env['SDP_MUTANTS'] ?? USUAL);
const SEED = seedOf('SDP_SEED', COUNT > USUAL);
/** Number of descriptions per call to a platform. */
const AT_ONCE = 250;

type Facts = Pick<SdpDescription, 'fp' | 'ufrag' | 'setup' | 'media'>;

/** Extracts the parsed facts from a description that a platform has serialized. */
function factsOf(written: string): Facts {
  const lines = written.split(/\r?\n/);
  const values = (name: string) => [
    ...new Set(lines.filter((line) => line.startsWith(`a=${name}:`)).map((line) => line.slice(name.length + 3).trim())),
  ];
  return {
    fp: [...new Set(values('fingerprint').map((value) => value.toLowerCase()))].sort(),
    ufrag: values('ice-ufrag').sort(),
    setup: values('setup').sort().join(),
    media: lines.filter((line) => line.startsWith('m=')).map((line) => line.slice(2).split(' ')[0]!),
  };
}

function ours(sdp: string): SdpDescription | string {
  try {
    return parseSdp(sdp);
  } catch (error) {
    return (error as Error).message;
  }
}

const platforms: Platform[] = [
  await browserPlatform('chromium'),
  await browserPlatform('firefox'),
  await nodePlatform('@roamhq/wrtc'),
  await nodePlatform('node-datachannel'),
  await nodePlatform('werift'),
];
const bases = await Promise.all(platforms.map((platform) => platform.offer()));

describe(`the SDP parser, seed ${SEED}`, () => {
  after(() => Promise.all(platforms.map((platform) => platform.close())));

  for (const [index, platform] of platforms.entries()) {
    test(`agrees with every platform on descriptions created by ${platform.name}`, async () => {
      const facts = ours(bases[index]!) as SdpDescription;
      for (const reader of platforms) {
        const [written] = await reader.read([bases[index]!]);
        assert.ok(written, `${reader.name} accepts it`);
        const { fp, ufrag, setup, media } = facts;
        assert.deepEqual(factsOf(written), { fp, ufrag, setup, media }, reader.name);
      }
    });
  }

  test('Firefox accepts a=FINGERPRINT as a fingerprint attribute', async () => {
    const firefox = platforms.find(({ name }) => name === 'firefox')!;
    const [written] = await firefox.read([bases[1]!.replace('a=setup:', `a=FINGERPRINT:${EVIL.fingerprint}\r\na=setup:`)]);
    assert.ok(factsOf(written!).fp.includes(EVIL.fingerprint.toLowerCase()));
  });

  for (const platform of platforms) {
    test(`agrees with ${platform.name} on ${COUNT} altered descriptions or refuses them`, async (t) => {
      const mutants = new Mutants(SEED, bases);
      const refused = new Map<string, number>();
      let [common, accepted] = [0, 0];
      for (let done = 0; done < COUNT; done += AT_ONCE) {
        const all = Array.from({ length: Math.min(AT_ONCE, COUNT - done) }, () => mutants.next());
        // the Node packages receive only descriptions that the engine accepts: others crash some packages
        const batch = platform.isBrowser ? all : all.filter((sdp) => typeof ours(sdp) !== 'string');
        for (const [index, written] of (await platform.read(batch)).entries()) {
          if (written === null) continue;
          accepted++;
          const read = ours(batch[index]!);
          if (typeof read === 'string') {
            const kind = read.replace(/^line \d+/, 'a line').replace(/, got .*/s, '');
            refused.set(kind, (refused.get(kind) ?? 0) + 1);
            continue;
          }
          common++;
          const { fp, ufrag, setup, media } = read;
          assert.deepEqual(factsOf(written), { fp, ufrag, setup, media }, JSON.stringify(batch[index]));
        }
      }
      t.diagnostic(`${platform.name}: ${accepted} accepted, ${common} of them by us too; refused by us:`);
      for (const [kind, count] of [...refused].sort(([, a], [, b]) => b - a)) t.diagnostic(`  ${count} x ${kind}`);
      assert.ok(common > COUNT / 100, `only ${common} were accepted by both, so nothing is shown`);
    });

    test(`accepts no candidate that changes how ${platform.name} reads a description`, async () => {
      const mutants = new Mutants(SEED + 1, bases);
      const base = bases[platforms.indexOf(platform)]!;
      const candidates = Array.from({ length: COUNT / 10 }, () => mutants.nextCandidate()).filter(isCandidate);
      assert.ok(candidates.length > COUNT / 100, 'enough candidates that we accept');
      const before = factsOf((await platform.read([base]))[0]!);
      for (let i = 0; i < candidates.length; i += AT_ONCE) {
        const batch = candidates.slice(i, i + AT_ONCE);
        for (const [index, written] of (await platform.readCandidates(base, batch)).entries())
          if (written !== null) assert.deepEqual(factsOf(written), before, JSON.stringify(batch[index]));
      }
    });
  }
});
