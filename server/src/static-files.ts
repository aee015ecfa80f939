/**
 * Serves static files: `demo/` and `dist/` of the elements, and the bundle under a short path. Only known file types are served, no
 * names with a leading dot, and nothing that a symbolic link places outside the folder: the folder may be a working copy with a database
 * in it. Files are compressed once and cached, with an ETag; clients revalidate their copy each time.
 */
import { createHash } from 'node:crypto';
import { readFile, realpath, stat } from 'node:fs/promises';
import { extname, join, sep } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';

export interface StaticReply {
  status: 200 | 304;
  headers: Record<string, string>;
  /** Shared by all replies: a copy would be held for each client that does not read. */
  body: Buffer | null;
}

/** File types that are served, with their media type and whether compressing pays off. */
const TYPES: Record<string, [type: string, isText: boolean]> = {
  '.html': ['text/html; charset=utf-8', true],
  '.js': ['text/javascript; charset=utf-8', true],
  '.mjs': ['text/javascript; charset=utf-8', true],
  '.css': ['text/css; charset=utf-8', true],
  '.json': ['application/json', true],
  '.map': ['application/json', true],
  '.ts': ['text/plain; charset=utf-8', true],
  '.svg': ['image/svg+xml', true],
  '.ico': ['image/x-icon', false],
  '.png': ['image/png', false],
  '.jpg': ['image/jpeg', false],
  '.webp': ['image/webp', false],
  '.woff2': ['font/woff2', false],
};
/** Maximum size of a file that is served, in bytes. */
const MAX_FILE = 16 * 1024 * 1024;
/** Bytes that are cached in memory, all encodings together. */
const MAX_KEPT = 32 * 1024 * 1024;
/** Below this size, in bytes, compressing saves nothing. */
const MIN_COMPRESSED = 512;

type Encoding = 'identity' | 'gzip' | 'br';
const COMPRESS: Record<Exclude<Encoding, 'identity'>, (bytes: Buffer) => Promise<Buffer>> = {
  gzip: (bytes) => promisify(gzip)(bytes, { level: 9 }),
  br: (bytes) =>
    promisify(brotliCompress)(bytes, {
      params: { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
    }),
};

interface Form {
  etag: string;
  body: Buffer;
}

export class StaticFiles {
  readonly #root: string;
  /** By path, encoding, size and modification time. */
  readonly #kept = new Map<string, Promise<Form>>();
  /** Sizes of the cached files, oldest first, and their sum. */
  readonly #sizes = new Map<string, number>();
  #bytes = 0;

  constructor(root: string) {
    this.#root = root;
  }

  /**
   * @param path below the root, as in the URL
   * @param headers of the request, by lower-case name
   * @returns undefined if there is no such file, or it is not served
   */
  async reply(path: string, headers: { acceptEncoding?: string; ifNoneMatch?: string }): Promise<StaticReply | undefined> {
    const file = await this.#find(path);
    if (!file) return undefined;
    const [type, isText] = TYPES[extname(file.path)]!;
    const encoding = isText && file.size >= MIN_COMPRESSED ? preferredEncoding(headers.acceptEncoding ?? '') : 'identity';
    const { etag, body } = await this.#form(file, encoding);
    const common = { ETag: etag, 'Cache-Control': 'no-cache', ...(isText && { Vary: 'Accept-Encoding' }) };
    if (matches(headers.ifNoneMatch ?? '', etag)) return { status: 304, headers: common, body: null };
    return {
      status: 200,
      headers: {
        ...common,
        'Content-Type': type,
        'Content-Length': String(body.length),
        ...(encoding !== 'identity' && { 'Content-Encoding': encoding }),
      },
      body,
    };
  }

  /** The file of a path, if it is served. */
  async #find(path: string): Promise<{ path: string; size: number; changed: number } | undefined> {
    let names: string[];
    try {
      names = decodeURIComponent(path).split('/').filter(Boolean);
    } catch {
      return undefined;
    }
    if (path.endsWith('/')) names.push('index.html');
    // a name with a leading dot is `..` or a hidden file
    if (names.length === 0 || names.some((name) => name.startsWith('.') || /[\\:\0]/.test(name))) return undefined;
    if (!Object.hasOwn(TYPES, extname(names.at(-1)!))) return undefined;
    try {
      const folder = await realpath(join(this.#root, names[0]!));
      const found = await realpath(join(this.#root, ...names));
      if (!found.startsWith(folder + sep) || !Object.hasOwn(TYPES, extname(found))) return undefined;
      const stats = await stat(found);
      return stats.isFile() && stats.size <= MAX_FILE ? { path: found, size: stats.size, changed: stats.mtimeMs } : undefined;
    } catch {
      return undefined; // not there, or not readable
    }
  }

  #form(file: { path: string; size: number; changed: number }, encoding: Encoding): Promise<Form> {
    const key = JSON.stringify([file.path, encoding, file.size, file.changed]);
    const kept = this.#kept.get(key);
    if (kept) return kept;
    const made = makeForm(file.path, encoding);
    this.#kept.set(key, made);
    made.then(
      ({ body }) => this.#keep(key, body.length),
      () => this.#kept.delete(key),
    );
    return made;
  }

  /** Drops the oldest files while the cache is too large. */
  #keep(key: string, size: number): void {
    this.#sizes.set(key, size);
    this.#bytes += size;
    for (const [oldest, bytes] of this.#sizes) {
      if (this.#bytes <= MAX_KEPT) return;
      this.#sizes.delete(oldest);
      this.#kept.delete(oldest);
      this.#bytes -= bytes;
    }
  }
}

async function makeForm(path: string, encoding: Encoding): Promise<Form> {
  const bytes = await readFile(path);
  const hash = createHash('sha256').update(bytes).digest('base64url').slice(0, 22);
  if (encoding === 'identity') return { etag: `"${hash}"`, body: bytes };
  return { etag: `"${hash}-${encoding}"`, body: await COMPRESS[encoding](bytes) };
}

/** RFC 9110 section 12.5.3; prefers brotli whatever the weights, but never an encoding refused with `q=0`. */
function preferredEncoding(header: string): Encoding {
  const accepted = new Map<string, boolean>();
  for (const item of header.slice(0, 1000).toLowerCase().split(',')) {
    const [name = '', ...parameters] = item.split(';').map((part) => part.trim());
    accepted.set(name, !parameters.some((parameter) => /^q=0(\.0{0,3})?$/.test(parameter)));
  }
  return (['br', 'gzip'] as const).find((name) => accepted.get(name) ?? accepted.get('*')) ?? 'identity';
}

/** RFC 9110 section 13.1.2: weak comparison. */
const matches = (ifNoneMatch: string, etag: string): boolean =>
  ifNoneMatch
    .slice(0, 2000)
    .split(',')
    .some((item) => item.trim() === '*' || item.trim().replace(/^W\//, '') === etag);
