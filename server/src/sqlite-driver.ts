/**
 * Picks a SQLite: `node:sqlite` where Node has it (from 22.13), else the prebuilt `libsql`. Both are synchronous.
 * There is no fallback to memory: a server that forgets its claims at a restart must have been told to.
 */
import { createRequire } from 'node:module';

export type SqlValue = string | number | null;
export type Row = Record<string, SqlValue>;

export interface Statement {
  run(...args: SqlValue[]): { changes: number | bigint };
  get(...args: SqlValue[]): Row | undefined;
  all(...args: SqlValue[]): Row[];
}

export interface Database {
  prepare(sql: string): Statement;
  exec(sql: string): void;
  close(): void;
}

/**
 * @param path a file, or `:memory:`
 * @throws Error that says what to do, when no SQLite is there or the file cannot be opened
 */
export function openDatabase(path: string): Database {
  const require = createRequire(import.meta.url);
  let open: (path: string) => Database;
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > 22 || (major === 22 && minor >= 13)) {
    const { DatabaseSync } = require('node:sqlite') as { DatabaseSync: new (path: string) => Database };
    open = (file) => new DatabaseSync(file);
  } else {
    try {
      const Libsql = require('libsql') as new (path: string) => Database;
      open = (file) => new Libsql(file);
    } catch (cause) {
      throw new Error('no SQLite here: run `npm install libsql`, or use Node 22.13 or newer, which brings its own', { cause });
    }
  }
  try {
    return open(path);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`cannot open the database ${path}: ${reason}. Does the folder exist, and may this user write to it?`, {
      cause,
    });
  }
}

interface Batch {
  written: Promise<void>;
  settle: { resolve(): void; reject(error: unknown): void };
}

/**
 * Statements that are prepared once; and transactions that are written together: a commit costs as much as several of them, so
 * all of one turn of the event loop share one, and each is done when that is written.
 */
export class Sql {
  readonly #db: Database;
  readonly #statements = new Map<string, Statement>();
  #batch: Batch | undefined;

  constructor(db: Database) {
    this.#db = db;
  }

  get(sql: string, ...args: SqlValue[]): Row | undefined {
    return this.#statement(sql).get(...args) ?? undefined;
  }

  all(sql: string, ...args: SqlValue[]): Row[] {
    return this.#statement(sql).all(...args);
  }

  /** Only within a transaction. @returns how many rows changed */
  run(sql: string, ...args: SqlValue[]): number {
    return Number(this.#statement(sql).run(...args).changes);
  }

  /**
   * @param work runs at once, as a whole or not at all
   * @returns what it returned, once it is written
   */
  async transaction<T>(work: () => T): Promise<T> {
    const batch = (this.#batch ??= this.#begin());
    this.#statement('SAVEPOINT one').run();
    let result: T;
    try {
      result = work();
    } catch (error) {
      this.#undo('ROLLBACK TO one; RELEASE one');
      throw error;
    }
    this.#statement('RELEASE one').run();
    await batch.written;
    return result;
  }

  close(): void {
    this.#commit();
    this.#statements.clear();
    this.#db.close();
  }

  #begin(): Batch {
    this.#db.exec('BEGIN IMMEDIATE');
    let settle!: Batch['settle'];
    const written = new Promise<void>((resolve, reject) => (settle = { resolve, reject }));
    written.catch(() => undefined); // each of those in it hears it
    setImmediate(() => this.#commit());
    return { written, settle };
  }

  #commit(): void {
    const batch = this.#batch;
    this.#batch = undefined;
    if (!batch) return;
    try {
      this.#db.exec('COMMIT');
      batch.settle.resolve();
    } catch (error) {
      batch.settle.reject(error);
      this.#undo('ROLLBACK');
    }
  }

  /** When the disk is full SQLite has undone everything by itself. */
  #undo(sql: string): void {
    try {
      this.#db.exec(sql);
    } catch {
      // nothing was left to undo
    }
  }

  #statement(sql: string): Statement {
    let statement = this.#statements.get(sql);
    if (!statement) this.#statements.set(sql, (statement = this.#db.prepare(sql)));
    return statement;
  }
}
