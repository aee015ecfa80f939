/**
 * Keeps checkpoints, which copy the write-ahead log into the database and wait for the disk, from delaying calls. Checkpoints
 * run in a separate thread where that is safe; otherwise, the log is flushed to disk before SQLite waits for it. See
 * "Checkpointing" in https://sqlite.org/wal.html.
 */
import { close, fdatasync, openSync } from 'node:fs';
import { Worker } from 'node:worker_threads';

/** Number of writes between two checkpoints: a few megabytes of log. */
const WRITES_PER_CHECKPOINT = 2000;

// the worker's code is a string, because a worker cannot load TypeScript sources, which tests and tools run
const CODE = `
const { parentPort, workerData } = require('node:worker_threads');
const sqlite = require(workerData.module);
const database = new (sqlite.DatabaseSync ?? sqlite)(workerData.path);
const copy = database.prepare('PRAGMA wal_checkpoint(PASSIVE)');
parentPort.on('message', (what) => {
  if (what === 'close') {
    database.close();
    return parentPort.close();
  }
  copy.get();
  parentPort.postMessage('done');
});`;

/** How long the thread may take to close its connection, in ms. */
const CLOSE_TIMEOUT = 2000;

/**
 * Whether a second connection may run a checkpoint while the first one writes. Before SQLite 3.51.3, a commit that resets the
 * log at the wrong moment loses pages permanently; see "The WAL-Reset Bug" in https://sqlite.org/wal.html.
 */
export function isSafe(version: string): boolean {
  const [major = 0, minor = 0, patch = 0] = version.split('.').map(Number);
  const since: Record<number, number> = { 44: 6, 50: 7, 51: 3 };
  return major > 3 || minor > 51 || patch >= (since[minor] ?? Infinity);
}

/** Notified of every commit. */
export interface Checkpoints {
  /** @param count number of write statements in the commit */
  wrote(count: number): void;
  close(): Promise<void>;
}

export class CheckpointThread implements Checkpoints {
  readonly #worker: Worker;
  readonly #onFailed: () => void;
  #writes = 0;
  /** True during a checkpoint, and permanently after a failure. */
  #isBusy = false;

  /**
   * @param module name or file of the SQLite module
   * @param onFailed called when the thread has failed and will run no more checkpoints
   * @throws Error if no thread can be started
   */
  constructor(module: string, path: string, onFailed: () => void) {
    this.#onFailed = onFailed;
    this.#worker = new Worker(CODE, {
      eval: true,
      workerData: { module, path },
      execArgv: ['--disable-warning=ExperimentalWarning'],
    });
    this.#worker.on('message', () => (this.#isBusy = false));
    this.#worker.on('error', () => this.#fail());
    // adding a listener refs the worker again, so unref() is called last
    this.#worker.unref();
  }

  wrote(count: number): void {
    this.#writes += count;
    if (this.#writes < WRITES_PER_CHECKPOINT || this.#isBusy) return;
    this.#writes = 0;
    this.#isBusy = true;
    this.#worker.postMessage('copy');
  }

  async close(): Promise<void> {
    this.#isBusy = true;
    // if this connection stayed open, SQLite could not truncate the log when the database is closed
    const ended = new Promise((resolve) => this.#worker.once('exit', resolve));
    this.#worker.ref(); // keeps the process alive until the worker has exited
    this.#worker.postMessage('close');
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, CLOSE_TIMEOUT))]);
    await this.#worker.terminate();
  }

  #fail(): void {
    this.#isBusy = true;
    this.#onFailed();
  }
}

/** Number of writes between two flushes. */
const WRITES_PER_FLUSH = 100;

/** Regularly flushes the log to disk on Node's thread pool, so that a checkpoint does not wait long. */
export class LogFlusher implements Checkpoints {
  readonly #log: number;
  #writes = 0;
  #isBusy = false;
  #isClosed = false;

  /** @throws Error if the log does not exist */
  constructor(path: string) {
    this.#log = openSync(`${path}-wal`, 'r+');
  }

  wrote(count: number): void {
    this.#writes += count;
    if (this.#writes < WRITES_PER_FLUSH || this.#isBusy || this.#isClosed) return;
    this.#writes = 0;
    this.#isBusy = true;
    // an error is ignored, because SQLite syncs again and reports it
    fdatasync(this.#log, () => {
      this.#isBusy = false;
      if (this.#isClosed) close(this.#log);
    });
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (!this.#isBusy) close(this.#log);
  }
}
