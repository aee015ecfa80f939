// Copies the version from package.json, where it is maintained, to components/version.ts. The build runs it.
import { readFileSync, writeFileSync } from 'node:fs';

const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
writeFileSync(
  'components/version.ts',
  `// Generated from package.json by scripts/version.mjs.\nexport const VERSION = '${version}';\n`,
);
