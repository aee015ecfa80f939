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

export class Checkpoints {
  readonly #workerData: { module: string; path: string };
  #worker: Worker | undefined;
  #writes = 0;
  /** While one is under way; for good when it failed: then SQLite does it by itself, later and within a commit. */
  #isBusy = false;

  /** @param module of SQLite, a name or a file */
  constructor(module: string, path: string) {
    this.#workerData = { module, path };
  }

  /** To be called after every commit. @param count how many statements of it wrote */
  wrote(count: number): void {
    this.#writes += count;
    if (this.#writes < EVERY || this.#isBusy) return;
    this.#writes = 0;
    this.#isBusy = true;
    this.#worker ??= this.#start();
    this.#worker.postMessage('copy');
  }

  async close(): Promise<void> {
    this.#isBusy = true;
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(CODE, { eval: true, workerData: this.#workerData, execArgv: [], stderr: true });
    worker.unref();
    worker.on('message', () => (this.#isBusy = false));
    worker.on('error', () => undefined);
    return worker;
  }
}
