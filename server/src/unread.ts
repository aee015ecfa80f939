/**
 * Bounds the bytes that the server holds for clients that do not read them. Beyond the bound for one address, or for all, the
 * slowest reader is cut off. session.ts has the bound for one socket.
 */

/** Unsent bytes of replies and events for one address; beyond this, its slowest reader is cut off. */
export const MAX_UNREAD_PER_ADDRESS = 33_554_432;
/**
 * Unsent bytes of replies and events in total; beyond this, the slowest reader of the address with the most bytes is cut off.
 */
export const MAX_UNREAD = 268_435_456;

export interface Reader {
  readonly address: string;
  /** Bytes that the reader has not read yet. */
  readonly unread: number;
  /** Disconnects the reader, whose unread bytes no longer count. */
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

  /** Call this after sending to a reader, and from time to time. */
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

  /** Forgets a reader that was closed. */
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

  /** Reads the unread bytes of an address again: some may have been read in the meantime. */
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
