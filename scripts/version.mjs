// Writes the version of package.json, its only source, into components/version.ts. Run by the build.
import { readFileSync, writeFileSync } from 'node:fs';

const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
writeFileSync(
  'components/version.ts',
  `// Generated from package.json by scripts/version.mjs.\nexport const VERSION = '${version}';\n`,
);
