/**
 * Imports the WebRTC types of src/base/webrtc-types.ts into every published declaration file that uses them, so that projects
 * without the DOM library can compile against those files. The build runs this script after tsc; a second run changes nothing.
 */
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

const [dist = 'dist'] = process.argv.slice(2);
const TYPES = `${dist}/src/base/webrtc-types`;
const declarations = readFileSync(`${TYPES}.d.ts`, 'utf8');
const names = [
  ...new Set([...declarations.matchAll(/^export (?:declare )?(?:type|interface|const) (\w+)/gm)].map(([, name]) => name)),
];
const MARK = '// from the DOM library, where there is one\n';

for (const entry of readdirSync(`${dist}/src`, { recursive: true })) {
  const file = join(`${dist}/src`, entry);
  if (!file.endsWith('.d.ts') || relative(file, `${TYPES}.d.ts`) === '') continue;
  const text = readFileSync(file, 'utf8');
  if (text.startsWith(MARK)) continue;
  const code = text.replace(/\/\*[^]*?\*\//g, '');
  const used = names.filter((name) => new RegExp(`\\b${name}\\b`).test(code));
  if (!used.length) continue;
  const path = relative(dirname(file), `${TYPES}.js`).replaceAll('\\', '/');
  writeFileSync(file, `${MARK}import type { ${used.join(', ')} } from '${path.startsWith('.') ? path : `./${path}`}';\n${text}`);
}
