// Writes custom-elements.json from the JSDoc of the elements, with nothing in it that users cannot use.
import { readFileSync, writeFileSync } from 'node:fs';
import { run } from './run.mjs';

run('cem', ['analyze', '--config', 'custom-elements-manifest.config.mjs', '--quiet'], { stdio: ['ignore', 'ignore', 'inherit'] });
const manifest = JSON.parse(readFileSync('custom-elements.json', 'utf8'));
const isPublic = ({ privacy, name }) =>
  !/^(private|protected)$/.test(privacy ?? '') && !/^#|^(connected|disconnected|willUpdate|updated|render$)/.test(name);
for (const { declarations } of manifest.modules) {
  for (const declaration of declarations) declaration.members = declaration.members?.filter(isPublic);
}
writeFileSync('custom-elements.json', `${JSON.stringify(manifest, null, 2)}\n`);
