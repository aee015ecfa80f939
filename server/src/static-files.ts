/**
 * Serves static files: `demo/` and `dist/` of the rondevu-elements package, and the bundle under a short path. The folder may
 * be a working copy that contains a database, so only known file types are served, and never a file that a symbolic link places
 * outside the folder or whose path contains a name with a leading dot. Files are compressed once and cached, with an ETag;
 * clients revalidate their copies on each request.
 */
import { createHash } from 'node:crypto';
import { readFile, realpath, stat } from 'node:fs/promises';
import { extname, join, sep } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';

export interface StaticReply {
  status: 200 | 304;
  headers: Record<string, string>;
  /** Buffer shared by all replies: otherwise, a copy would be held for each client that does not read. */
  body: Buffer | null;
}

/** File types that are served, with their media types and whether compression is worthwhile. */
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
/** Maximum number of bytes cached in memory, all encodings together. */
const MAX_KEPT = 32 * 1024 * 1024;
/** Minimum size of a file that is compressed, in bytes: below this size, compression saves nothing. */
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
  /** Cached files by path, encoding, size and modification time. */
  readonly #kept = new Map<string, Promise<Form>>();
  /** Sizes of the cached files, oldest first, and their sum. */
  readonly #sizes = new Map<string, number>();
  #bytes = 0;

  constructor(root: string) {
    this.#root = root;
  }

  /**
   * @param path path below the root, as in the URL
   * @param headers `Accept-Encoding` and `If-None-Match` headers of the request
   * @returns the reply, or undefined if the file does not exist or is not served
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

  /** Finds the file at a path; returns undefined if the file is not served. */
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
      return undefined; // the file does not exist or is not readable
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

  /** Records the size of a cached file, and evicts the oldest files while the cache is too large. */
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

/**
 * Chooses a content encoding (RFC 9110 section 12.5.3): prefers Brotli regardless of the weights, but never uses an encoding
 * refused with `q=0`.
 */
function preferredEncoding(header: string): Encoding {
  const accepted = new Map<string, boolean>();
  for (const item of header.slice(0, 1000).toLowerCase().split(',')) {
    const [name = '', ...parameters] = item.split(';').map((part) => part.trim());
    accepted.set(name, !parameters.some((parameter) => /^q=0(\.0{0,3})?$/.test(parameter)));
  }
  return (['br', 'gzip'] as const).find((name) => accepted.get(name) ?? accepted.get('*')) ?? 'identity';
}

/** Compares entity tags with the weak comparison function (RFC 9110 section 13.1.2). */
const matches = (ifNoneMatch: string, etag: string): boolean =>
  ifNoneMatch
    .slice(0, 2000)
    .split(',')
    .some((item) => item.trim() === '*' || item.trim().replace(/^W\//, '') === etag);
