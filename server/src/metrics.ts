/**
 * Metrics of one process, in the Prometheus text format. Labels have few values: protocol methods and error codes, never names,
 * keys or addresses.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Store } from './store.js';

/** Values read when the metrics are requested. */
export interface Gauges {
  sockets(): number;
  waiting(): number;
}

/** In seconds. */
const BUCKETS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5];

export class Metrics {
  readonly #registry = new Registry();
  readonly #requests: Counter<'method' | 'outcome'>;
  readonly #latency: Histogram<'method'>;
  readonly #verify: Histogram;
  readonly #store: Histogram<'operation'>;
  readonly #slowReaders: Counter;
  // metrics are cached by label, because looking up a label costs more than recording an observation
  readonly #latencies = new Map<string, Histogram.Internal<'method'>>();
  readonly #counters = new Map<string, Counter.Internal>();

  constructor() {
    const registers = [this.#registry];
    this.#requests = new Counter({
      name: 'rondevu_requests_total',
      help: 'Calls by method and outcome: ok, or the code of the error.',
      labelNames: ['method', 'outcome'],
      registers,
    });
    this.#latency = new Histogram({
      name: 'rondevu_request_seconds',
      help: 'Time from a call to its reply, including time in the queue.',
      labelNames: ['method'],
      buckets: BUCKETS,
      registers,
    });
    this.#verify = new Histogram({
      name: 'rondevu_verify_seconds',
      help: 'Time to verify one signature.',
      buckets: BUCKETS,
      registers,
    });
    this.#store = new Histogram({
      name: 'rondevu_store_seconds',
      help: 'Time of one store operation.',
      labelNames: ['operation'],
      buckets: BUCKETS,
      registers,
    });
    this.#slowReaders = new Counter({
      name: 'rondevu_slow_readers_total',
      help: 'Sockets closed because their reader was too slow.',
      registers,
    });
  }

  /** Starts timing a call. When the call ends, pass its outcome to the returned function. */
  request(method: string): (outcome: string) => void {
    const start = performance.now();
    return (outcome) => {
      let latency = this.#latencies.get(method);
      if (!latency) this.#latencies.set(method, (latency = this.#latency.labels({ method })));
      latency.observe((performance.now() - start) / 1000);
      const name = `${method} ${outcome}`;
      let counter = this.#counters.get(name);
      if (!counter) this.#counters.set(name, (counter = this.#requests.labels({ method, outcome })));
      counter.inc();
    };
  }

  /** Times the verification of one signature. */
  verifying<T>(check: () => T): T {
    const end = this.#verify.startTimer();
    try {
      return check();
    } finally {
      end();
    }
  }

  slowReader(): void {
    this.#slowReaders.inc();
  }

  /** Wraps a store so that each of its operations is timed. */
  timed<S extends Store>(store: S): S {
    const wrapped = new Map<unknown, unknown>();
    return new Proxy(store, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function' || typeof name !== 'string') return value;
        let method = wrapped.get(value);
        if (!method) wrapped.set(value, (method = this.#timedMethod(target, name, value as (...args: unknown[]) => unknown)));
        return method;
      },
    });
  }

  #timedMethod(target: Store, operation: string, method: (...args: unknown[]) => unknown) {
    const histogram = this.#store.labels({ operation });
    return async (...args: unknown[]): Promise<unknown> => {
      const start = performance.now();
      try {
        return await method.apply(target, args);
      } finally {
        histogram.observe((performance.now() - start) / 1000);
      }
    };
  }

  /** Registers the gauges. */
  watch(gauges: Gauges, store: Store): void {
    const registers = [this.#registry];
    new Gauge({
      name: 'rondevu_sockets',
      help: 'Open push sessions.',
      registers,
      collect() {
        this.set(gauges.sockets());
      },
    });
    new Gauge({
      name: 'rondevu_waiting_joiners',
      help: 'Joiners in the queue.',
      registers,
      collect() {
        this.set(gauges.waiting());
      },
    });
    new Gauge({
      name: 'rondevu_free_offers',
      help: 'Live offers without an answer.',
      registers,
      async collect() {
        this.set(await store.countFreeOffers(Date.now()));
      },
    });
  }

  /** Returns the metrics in the Prometheus text format. */
  async text(): Promise<{ type: string; body: string }> {
    return { type: this.#registry.contentType, body: await this.#registry.metrics() };
  }
}
