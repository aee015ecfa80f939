/** A promise with its resolvers, because some supported browsers lack `Promise.withResolvers`. */
export class Deferred<T> {
  readonly promise: Promise<T>;
  resolve!: (value: T) => void;
  reject!: (reason: unknown) => void;

  constructor() {
    this.promise = new Promise<T>((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    this.promise.catch(() => undefined); // prevents an unhandled rejection: an event also reports the failure
  }
}
