/**
 * A package registry that serves the packages of this checkout and redirects all other requests to the real registry, so that
 * tests can install the packages as they would be published.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { temporaryFolder } from './folders.js';
import { listenFor } from './set-up.js';

interface Packed {
  name: string;
  version: string;
  filename: string;
  integrity: string;
  shasum: string;
}

/**
 * @param folders folders of the built packages
 * @returns URL of the registry, for npm_config_registry
 */
export async function startRegistry(t: TestContext, folders: string[]): Promise<string> {
  const store = temporaryFolder(t);
  const real = String(execFileSync('npm', ['config', 'get', 'registry'])).trim();
  const packages = new Map<string, (url: string) => object>();
  const tarballs = new Set<string>();
  for (const cwd of folders) {
    const args = ['pack', '--json', '--ignore-scripts', '--workspaces=false', '--pack-destination', store];
    const told = JSON.parse(String(execFileSync('npm', args, { cwd, stdio: 'pipe' }))) as Packed[] | Record<string, Packed>;
    const { name, version, filename, integrity, shasum } = Object.values(told)[0]!;
    const manifest = JSON.parse(readFileSync(join(cwd, 'package.json'), 'utf8')) as object;
    tarballs.add(filename);
    packages.set(name, (url) => ({
      name,
      'dist-tags': { latest: version },
      versions: { [version]: { ...manifest, dist: { tarball: `${url}/${filename}`, integrity, shasum } } },
    }));
  }
  const server = createServer(({ url: path = '/', headers }, response) => {
    // an earlier run may have used this port, and npm's cache persists across runs
    response.setHeader('cache-control', 'no-store');
    const document = packages.get(path.slice(1));
    if (document) return void response.end(JSON.stringify(document(`http://${headers.host}`)));
    if (tarballs.has(path.slice(1))) return void response.end(readFileSync(join(store, path.slice(1))));
    response.writeHead(302, { location: new URL(path.slice(1), real).href }).end();
  });
  return `${await listenFor(t, server)}/`;
}
