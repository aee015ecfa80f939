/**
 * Writes the API reports: the public API of each entry point, as declared by the published types. A change to the public API
 * shows up in the report, so that reviewers see it. Needs a build. Fails if a report was stale or if a public type refers to a
 * declaration that no entry point exports.
 */
import { Extractor, ExtractorConfig } from '@microsoft/api-extractor';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const FOLDER = resolve('api');
/** Entry points that re-export part of the package root. */
const REPEATED = /^\.\/(define\/|rondevu-|bundle$)/;
/** Symbols that a report shows with a suffix because an exported symbol has the same name. */
const NAMESAKES = ['MessageBuffer_2']; // the base class of the v0.20 MessageBuffer, which the package root exports

const temporary = mkdtempSync(join(tmpdir(), 'rondevu-api-'));
process.on('exit', () => rmSync(temporary, { recursive: true, force: true }));
mkdirSync(FOLDER, { recursive: true });

const problems = [];
const forgotten = [];
const exported = new Set(NAMESAKES);
// substitutes for types from the DOM library
for (const [, name] of readFileSync('src/base/webrtc-types.ts', 'utf8').matchAll(/^export (?:type|interface) (\w+)/gm))
  exported.add(`${name}_2`);

const none = { default: { logLevel: 'none' } };
for (const [path, { types }] of Object.entries(JSON.parse(readFileSync('package.json', 'utf8')).exports)) {
  if (!types || REPEATED.test(path)) continue;
  const reportFileName = `${path === '.' ? 'rondevu-elements' : path.slice(2)}.api.md`;
  const config = ExtractorConfig.prepare({
    configObject: {
      projectFolder: process.cwd(),
      mainEntryPointFilePath: resolve(types),
      compiler: { tsconfigFilePath: resolve('tsconfig.api.json') },
      apiReport: { enabled: true, reportFileName, reportFolder: FOLDER, reportTempFolder: temporary },
      docModel: { enabled: false },
      dtsRollup: { enabled: false },
      tsdocMetadata: { enabled: false },
      messages: {
        compilerMessageReporting: { default: { logLevel: 'error' } },
        extractorMessageReporting: { ...none, 'ae-forgotten-export': { logLevel: 'warning' } },
        tsdocMessageReporting: none,
      },
    },
    packageJsonFullPath: resolve('package.json'),
  });
  Extractor.invoke(config, {
    localBuild: true, // writes the report
    messageCallback(message) {
      message.handled = true;
      const { messageId, text } = message;
      if (messageId === 'ae-forgotten-export') forgotten.push({ path, name: /"(.+?)"/.exec(text)[1] });
      else if (messageId === 'console-api-report-copied')
        problems.push(`api/${reportFileName} was stale; it is rewritten now: look at it and commit it`);
      else if (message.logLevel === 'error') problems.push(`${path}: ${text}`);
    },
  });
  const report = readFileSync(join(FOLDER, reportFileName), 'utf8');
  for (const [, name] of report.matchAll(/^export (?:abstract )?(?:class|const|function|interface|type) (\w+)/gm))
    exported.add(name);
  for (const [, name] of report.matchAll(/^export \{ (?:\w+ as )?(\w+) \}/gm)) exported.add(name);
}
for (const { path, name } of forgotten)
  if (!exported.has(name)) problems.push(`${path}: a public type names ${name}, which no entry point exports`);
for (const problem of problems) console.error(problem);
console.log(`API reports: ${problems.length} problems`);
process.exit(problems.length ? 1 : 0);
