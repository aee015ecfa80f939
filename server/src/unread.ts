/**
 * Limits the bytes that the server buffers for clients that do not read them. If the limit for one address or the total limit
 * is exceeded, the slowest reader is disconnected; session.ts limits each socket.
 */

/**
 * Maximum number of unsent bytes of replies and events per address; above this limit, the slowest reader of the address is
 * disconnected.
 */
export const MAX_UNREAD_PER_ADDRESS = 33_554_432;
/**
 * Maximum number of unsent bytes of replies and events in total; above this limit, the slowest reader of the address with the
 * most unsent bytes is disconnected.
 */
export const MAX_UNREAD = 268_435_456;

export interface Reader {
  readonly address: string;
  /** Number of bytes that the reader has not read yet. */
  readonly unread: number;
  /** Disconnects the reader; its unread bytes then no longer count. */
  cutOff(): void;
}

export class Unread {
  readonly #perAddress: number;
  readonly #total: number;
  /** Readers with unread bytes, by address, and their unread bytes at the last check. */
  readonly #addresses = new Map<string, { bytes: number; readers: Map<Reader, number> }>();
  #bytes = 0;

  constructor(perAddress: number, total: number) {
    this.#perAddress = perAddress;
    this.#total = total;
  }

  /** Updates the unread bytes of a reader; call this after sending to the reader, and periodically. */
  note(reader: Reader): void {
    this.#set(reader, reader.unread);
    const { address } = reader;
    if ((this.#addresses.get(address)?.bytes ?? 0) > this.#perAddress && this.#refresh(address) > this.#perAddress)
      this.#cutOffSlowest(address);
    if (this.#bytes <= this.#total) return;
    for (const name of [...this.#addresses.keys()]) this.#refresh(name);
    if (this.#bytes <= this.#total) return;
    const [largest] = [...this.#addresses].reduce((a, b) => (b[1].bytes > a[1].bytes ? b : a));
    this.#cutOffSlowest(largest);
  }

  /** Removes a reader whose connection was closed. */
  forget(reader: Reader): void {
    this.#set(reader, 0);
  }

  #set(reader: Reader, bytes: number): void {
    let entry = this.#addresses.get(reader.address);
    const known = entry?.readers.get(reader) ?? 0;
    if (bytes === known) return;
    if (!entry) this.#addresses.set(reader.address, (entry = { bytes: 0, readers: new Map() }));
    entry.bytes += bytes - known;
    this.#bytes += bytes - known;
    if (bytes) entry.readers.set(reader, bytes);
    else entry.readers.delete(reader);
    if (!entry.readers.size) this.#addresses.delete(reader.address);
  }

  /** Updates the unread bytes of an address, because some may have been read in the meantime. */
  #refresh(address: string): number {
    for (const reader of [...(this.#addresses.get(address)?.readers.keys() ?? [])]) this.#set(reader, reader.unread);
    return this.#addresses.get(address)?.bytes ?? 0;
  }

  #cutOffSlowest(address: string): void {
    const { readers } = this.#addresses.get(address)!;
    const [slowest] = [...readers].reduce((a, b) => (b[1] > a[1] ? b : a));
    this.forget(slowest);
    slowest.cutOff();
  }
}
