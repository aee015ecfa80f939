/**
 * Selects the SQLite module: `node:sqlite` where it is available (Node 22.13 and newer), otherwise the prebuilt `libsql`. Both
 * are synchronous. There is no fallback to an in-memory database: a server may lose its claims at a restart only if it was
 * configured to do so.
 */
import { createRequire } from 'node:module';
import type { Checkpoints } from './sqlite-checkpoints.js';

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
 * @throws Error if there is no SQLite module or the file cannot be opened; the message suggests what to do
 */
export function openDatabase(path: string): { database: Database; module: string } {
  const require = createRequire(import.meta.url);
  let module = 'node:sqlite';
  let Constructor: new (path: string) => Database;
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > 22 || (major === 22 && minor >= 13)) {
    Constructor = withoutExperimentalWarning(() => require(module) as { DatabaseSync: typeof Constructor }).DatabaseSync;
  } else {
    try {
      module = require.resolve('libsql');
      Constructor = require(module) as typeof Constructor;
    } catch (cause) {
      throw new Error('SQLite is unavailable: run `npm install libsql`, or use Node 22.13 or newer, which includes it', {
        cause,
      });
    }
  }
  try {
    return { database: new Constructor(path), module };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`cannot open the database ${path}: ${reason}. Does the folder exist, and may this user write to it?`, {
      cause,
    });
  }
}

/**
 * Suppresses the warning that Node 22 prints when `node:sqlite` is loaded, which would appear as text among the JSON lines of
 * the log. Other warnings are not affected.
 */
function withoutExperimentalWarning<T>(load: () => T): T {
  const emitWarning = process.emitWarning;
  process.emitWarning = ((warning: string | Error, ...rest: unknown[]) => {
    const [type] = rest;
    if (type === 'ExperimentalWarning' && String(warning).startsWith('SQLite')) return;
    (emitWarning as (...args: unknown[]) => void).call(process, warning, ...rest);
  }) as typeof process.emitWarning;
  try {
    return load();
  } finally {
    process.emitWarning = emitWarning;
  }
}

/** How long a write waits while another process holds a lock on the database, and the interval between attempts, in ms. */
const LOCK_TIMEOUT = 2000;
const LOCK_POLL_INTERVAL = 20;

/** Whether an error is `SQLITE_BUSY`, as reported by libsql or node:sqlite. */
function isLocked(error: unknown): boolean {
  const { code, errcode } = error as { code?: unknown; errcode?: unknown };
  return code === 'SQLITE_BUSY' || (typeof errcode === 'number' && (errcode & 255) === 5);
}

interface Entry {
  work: () => unknown;
  result: unknown;
  resolve(result: unknown): void;
  reject(error: unknown): void;
}

/**
 * Prepares each statement once, and commits transactions in batches. A commit costs as much as several transactions, so all
 * transactions of one turn of the event loop share a commit, and each transaction resolves after the commit.
 */
export class Sql {
  readonly #db: Database;
  readonly #checkpoints: Checkpoints | undefined;
  readonly #statements = new Map<string, Statement>();
  /** Work done in the open transaction. */
  #batch: Entry[] | undefined;
  /** Number of writes in the current work, and in the whole batch. */
  #writes = 0;
  #batchWrites = 0;
  /**
   * Transactions that wait, in order, while another process holds a lock on the database; SQLite itself would block the event
   * loop while waiting.
   */
  #locked: Entry[] = [];
  #lockedSince = 0;
  #lockTimer: NodeJS.Timeout | undefined;
  /** Whether the last write failed. */
  #hasFailed = false;
  /** Called when the open transaction is rolled back, which invalidates everything read or written in it. */
  onRollback: (() => void) | undefined;

  constructor(db: Database, checkpoints: Checkpoints | undefined) {
    this.#db = db;
    this.#checkpoints = checkpoints;
  }

  get(sql: string, ...args: SqlValue[]): Row | undefined {
    return this.#statement(sql).get(...args) ?? undefined;
  }

  all(sql: string, ...args: SqlValue[]): Row[] {
    return this.#statement(sql).all(...args);
  }

  /**
   * Runs a statement that writes; all writes must use this method, within a transaction.
   * @returns the number of changed rows
   */
  run(sql: string, ...args: SqlValue[]): number {
    this.#writes++;
    return Number(this.#statement(sql).run(...args).changes);
  }

  /**
   * @param work runs immediately and atomically, and runs again if another transaction in the same commit fails, so it must do
   *   nothing except read and write through this object
   * @returns the result of `work`, after the commit
   */
  transaction<T>(work: () => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#perform({ work, result: undefined, resolve: resolve as Entry['resolve'], reject });
    });
  }

  /** Whether the last write failed; after a failure, a small write that succeeds proves little. */
  get hasFailed(): boolean {
    return this.#hasFailed;
  }

  #perform(entry: Entry): void {
    if (this.#lockTimer) return void this.#locked.push(entry);
    try {
      this.#batch ??= this.#begin();
    } catch (error) {
      return isLocked(error) ? this.#waitForLock(entry) : this.#fail([entry], error);
    }
    this.#writes = 0;
    try {
      entry.result = entry.work();
    } catch (error) {
      this.#fail([entry], error);
      // SQLite may have rolled back the whole transaction, even if this work only read
      return this.#redo();
    }
    this.#batchWrites += this.#writes;
    this.#batch.push(entry);
  }

  #waitForLock(entry: Entry): void {
    this.#locked.push(entry);
    this.#lockedSince = performance.now();
    this.#lockTimer = setInterval(() => {
      try {
        this.#batch = this.#begin();
      } catch (error) {
        if (isLocked(error) && performance.now() - this.#lockedSince < LOCK_TIMEOUT) return;
        const cause = { cause: error };
        return this.#fail(
          this.#takeLocked(),
          isLocked(error) ? new Error('another process holds a lock on the database', cause) : error,
        );
      }
      for (const waiting of this.#takeLocked()) this.#perform(waiting);
    }, LOCK_POLL_INTERVAL);
  }

  #takeLocked(): Entry[] {
    clearInterval(this.#lockTimer);
    this.#lockTimer = undefined;
    return this.#locked.splice(0);
  }

  #fail(entries: Entry[], error: unknown): void {
    this.#hasFailed = true;
    for (const { reject } of entries) reject(error);
  }

  /** Closes the database after moving all data into its main file, so that a copy of this file alone is complete. */
  async close(): Promise<void> {
    this.#fail(this.#takeLocked(), new Error('the database is closed'));
    this.#commit();
    await this.#checkpoints?.close();
    this.#statements.clear();
    try {
      this.#db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
    } finally {
      this.#db.close();
    }
  }

  #begin(): Entry[] {
    this.#db.exec('BEGIN IMMEDIATE');
    setImmediate(() => this.#commit());
    return [];
  }

  #commit(): void {
    const batch = this.#batch;
    this.#batch = undefined;
    if (!batch) return;
    try {
      this.#db.exec('COMMIT');
    } catch (error) {
      this.#rollback();
      return this.#fail(batch, error);
    }
    if (this.#batchWrites) this.#hasFailed = false;
    for (const { resolve, result } of batch) resolve(result);
    this.#checkpoints?.wrote(this.#batchWrites);
    this.#batchWrites = 0;
  }

  /** Runs the other transactions of a batch again, each with its own commit, after a failure that undid the whole batch. */
  #redo(): void {
    const batch = this.#batch!;
    this.#batch = undefined;
    this.#rollback();
    for (const { work, resolve, reject } of batch) {
      try {
        this.#db.exec('BEGIN IMMEDIATE');
        const result = work();
        this.#db.exec('COMMIT');
        resolve(result);
      } catch (error) {
        this.#rollback();
        this.#fail([{ work, resolve, reject, result: undefined }], error);
      }
    }
  }

  /** Rolls back the open transaction; if the disk is full, SQLite has already rolled it back. */
  #rollback(): void {
    this.#batchWrites = 0;
    this.onRollback?.();
    try {
      this.#db.exec('ROLLBACK');
    } catch {
      // there was no open transaction
    }
  }

  #statement(sql: string): Statement {
    let statement = this.#statements.get(sql);
    if (!statement) this.#statements.set(sql, (statement = this.#db.prepare(sql)));
    return statement;
  }
}
