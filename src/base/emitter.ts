/**
 * The engine's event emitter, with typed `on`, `once` and `off`. Common emitter libraries lack one guarantee that the engine
 * needs: an exception in a listener is reported, and interrupts neither the other listeners nor the emitting state machine.
 */
type Listener = (...args: any[]) => void; // eslint-disable-line @typescript-eslint/no-explicit-any -- private to this file
/** Argument types of an event's listeners. */
export type EventArgs<Events, K extends keyof Events> = Events[K] extends unknown[] ? Events[K] : never;

export class Emitter<Events extends object> {
  #listeners = new Map<keyof Events, { listener: Listener; once: boolean }[]>();

  on<K extends keyof Events>(event: K, listener: (...args: EventArgs<Events, K>) => void): this {
    return this.#add(event, listener as Listener, false);
  }

  once<K extends keyof Events>(event: K, listener: (...args: EventArgs<Events, K>) => void): this {
    return this.#add(event, listener as Listener, true);
  }

  /** Removes one listener of an event, or all of them if `listener` is omitted. */
  off<K extends keyof Events>(event: K, listener?: (...args: EventArgs<Events, K>) => void): this {
    const rest = listener ? (this.#listeners.get(event) ?? []).filter((entry) => entry.listener !== (listener as Listener)) : [];
    this.#listeners.set(event, rest);
    return this;
  }

  listenerCount(event: keyof Events): number {
    return this.listeners(event).length;
  }

  /** Same as `on`. */
  addListener<K extends keyof Events>(event: K, listener: (...args: EventArgs<Events, K>) => void): this {
    return this.on(event, listener);
  }

  /** Same as `off`. */
  removeListener<K extends keyof Events>(event: K, listener?: (...args: EventArgs<Events, K>) => void): this {
    return this.off(event, listener);
  }

  /** Removes all listeners of an event, or of every event if `event` is omitted. */
  removeAllListeners(event?: keyof Events): this {
    if (event === undefined) this.#listeners.clear();
    else this.#listeners.delete(event);
    return this;
  }

  /** Returns the listeners of an event in call order. */
  listeners<K extends keyof Events>(event: K): ((...args: EventArgs<Events, K>) => void)[] {
    return (this.#listeners.get(event) ?? []).map(({ listener }) => listener);
  }

  /** Events that have listeners. */
  eventNames(): (keyof Events)[] {
    return [...this.#listeners.keys()].filter((event) => this.listenerCount(event));
  }

  /** Calls the listeners in registration order; returns whether there were any. */
  emit<K extends keyof Events>(event: K, ...args: EventArgs<Events, K>): boolean {
    // off() and #add() replace the array, so listeners may be added or removed while this loop runs
    const entries = this.#listeners.get(event) ?? [];
    for (const { listener, once } of entries) {
      if (once) this.off(event, listener as (...args: EventArgs<Events, K>) => void);
      try {
        listener(...args);
      } catch (error) {
        console.error(`rondevu: a listener of "${String(event)}" threw`, error);
      }
    }
    return entries.length > 0;
  }

  /** Called after a listener has been added. @internal */
  protected listenerAdded(_event: keyof Events): void {
    // overridden by subclasses that wait for a listener
  }

  #add(event: keyof Events, listener: Listener, once: boolean): this {
    this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), { listener, once }]);
    this.listenerAdded(event);
    return this;
  }
}
