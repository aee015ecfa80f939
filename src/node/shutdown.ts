/** Shuts down a Node program: withdraws offers, notifies peers, then ends the process. */
import { constants } from 'node:os';

export interface ShutdownOptions {
  /** Default: SIGINT and SIGTERM. */
  signals?: NodeJS.Signals[];
  /** Called with the received signal before anything is closed. */
  onSignal?: (signal: NodeJS.Signals) => void | Promise<void>;
  /**
   * Called last with the exit code: 0 on success, 1 after an error, or 128 plus the signal number after a second signal.
   * Default: process.exit.
   */
  exit?: (code: number) => void;
}

/**
 * Closes one or more clients on a signal, and ends the process with exit code 0. A second signal ends the process immediately
 * with 128 plus the signal number, as shells expect.
 * @returns a function that removes the signal handlers
 */
export function closeOnSignal(
  clients: { close(): Promise<void> } | { close(): Promise<void> }[],
  { signals = ['SIGINT', 'SIGTERM'], onSignal, exit = (code) => process.exit(code) }: ShutdownOptions = {},
): () => void {
  let isClosing = false;
  const listen = async (signal: NodeJS.Signals): Promise<void> => {
    if (isClosing) return exit(128 + constants.signals[signal]);
    isClosing = true;
    try {
      await onSignal?.(signal);
      await Promise.all([clients].flat().map((client) => client.close()));
      exit(0);
    } catch (error) {
      console.error(error);
      exit(1);
    }
  };
  const handler = (signal: NodeJS.Signals): void => void listen(signal);
  for (const signal of signals) process.on(signal, handler);
  return () => {
    for (const signal of signals) process.off(signal, handler);
  };
}
