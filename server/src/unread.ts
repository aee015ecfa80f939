/**
 * Bounds what clients do not read, which the server holds until they do: past a bound of an address, or of all, the slowest reader
 * is cut off. What one socket may leave unread is session.ts's matter.
 */

/** Unsent bytes of replies and events for one address, and in all, past which the slowest reader is cut off. */
export const MAX_UNREAD_PER_ADDRESS = 33_554_432;
export const MAX_UNREAD = 268_435_456;

export interface Reader {
  readonly address: string;
  /** Bytes that it has not taken yet, at this moment. */
  readonly unread: number;
  /** Ends it. What it has not read counts no more. */
  cutOff(): void;
}

export class Unread {
  readonly #perAddress: number;
  readonly #inAll: number;
  /** Readers with unread bytes, by address, and their bytes when they were looked at last. */
  readonly #addresses = new Map<string, { bytes: number; readers: Map<Reader, number> }>();
  #bytes = 0;

  constructor(perAddress: number, inAll: number) {
    this.#perAddress = perAddress;
    this.#inAll = inAll;
  }

  /** To be called when a reader was sent something, and from time to time. */
  note(reader: Reader): void {
    this.#set(reader, reader.unread);
    const { address } = reader;
    if ((this.#addresses.get(address)?.bytes ?? 0) > this.#perAddress && this.#refreshed(address) > this.#perAddress)
      this.#cutOffSlowest(address);
    if (this.#bytes <= this.#inAll) return;
    for (const name of [...this.#addresses.keys()]) this.#refreshed(name);
    if (this.#bytes <= this.#inAll) return;
    const [largest] = [...this.#addresses].reduce((a, b) => (b[1].bytes > a[1].bytes ? b : a));
    this.#cutOffSlowest(largest);
  }

  /** A reader is gone. */
  forget(reader: Reader): void {
    this.#set(reader, 0);
  }

  #set(reader: Reader, bytes: number): void {
    let place = this.#addresses.get(reader.address);
    const known = place?.readers.get(reader) ?? 0;
    if (bytes === known) return;
    if (!place) this.#addresses.set(reader.address, (place = { bytes: 0, readers: new Map() }));
    place.bytes += bytes - known;
    this.#bytes += bytes - known;
    if (bytes) place.readers.set(reader, bytes);
    else place.readers.delete(reader);
    if (!place.readers.size) this.#addresses.delete(reader.address);
  }

  /** What an address has unread now: some of it may have been read meanwhile. */
  #refreshed(address: string): number {
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
