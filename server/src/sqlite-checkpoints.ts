/**
 * Copies the write-ahead log into the database from a thread of its own: to wait for the disk takes tens of milliseconds, which
 * would hold up every call. https://sqlite.org/wal.html, "Checkpointing"
 */
import { Worker } from 'node:worker_threads';

/** Statements that wrote between two copies: some megabytes of the log. */
const EVERY = 2000;

// as text, because a worker has no loader for what tests and tools run from source
const CODE = `
const { parentPort, workerData } = require('node:worker_threads');
const sqlite = require(workerData.module);
const database = new (sqlite.DatabaseSync ?? sqlite)(workerData.path);
const copy = database.prepare('PRAGMA wal_checkpoint(PASSIVE)');
parentPort.on('message', () => {
  copy.get();
  parentPort.postMessage('done');
});`;

/**
 * Whether a second connection may copy the log while the first one writes. Before 3.51.3 a commit that begins the log anew at the
 * wrong moment loses pages for good. https://sqlite.org/wal.html, "The WAL-Reset Bug"
 */
export function isSafe(version: string): boolean {
  const [major = 0, minor = 0, patch = 0] = version.split('.').map(Number);
  const since: Record<number, number> = { 44: 6, 50: 7, 51: 3 };
  return major > 3 || minor > 51 || patch >= (since[minor] ?? Infinity);
}

export class Checkpoints {
  readonly #worker: Worker;
  readonly #onFailed: () => void;
  #writes = 0;
  /** While one is under way; for good when it failed. */
  #isBusy = false;

  /**
   * @param module of SQLite, a name or a file
   * @param onFailed when nothing will be copied any more
   * @throws Error where no thread can be started
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
    // listening holds the process again, so this comes after it
    this.#worker.unref();
  }

  /** To be called after every commit. @param count how many statements of it wrote */
  wrote(count: number): void {
    this.#writes += count;
    if (this.#writes < EVERY || this.#isBusy) return;
    this.#writes = 0;
    this.#isBusy = true;
    this.#worker.postMessage('copy');
  }

  async close(): Promise<void> {
    this.#isBusy = true;
    await this.#worker.terminate();
  }

  #fail(): void {
    this.#isBusy = true;
    this.#onFailed();
  }
}
