/**
 * Two network namespaces connected by a virtual cable, for tests that unplug it. Requires Linux, root and `ip` from iproute2.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';

const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

/** Reason why network namespaces are unavailable; false if they are available. Intended for the `skip` option of a test. */
export function namespacesMissing(): string | false {
  const name = `rdv-try-${process.pid}`;
  try {
    ip('netns', 'add', name);
    ip('netns', 'del', name);
    return false;
  } catch (error) {
    return `no network namespaces here: ${(error as Error).message.split('\n')[0]}`;
  }
}

export class Namespaces {
  readonly one: string;
  readonly other: string;
  readonly addresses = { one: '10.77.0.1', other: '10.77.0.2' };

  constructor() {
    const id = `${process.pid % 10_000}`;
    [this.one, this.other] = [`rdv-a${id}`, `rdv-b${id}`];
    for (const name of [this.one, this.other]) {
      ip('netns', 'add', name);
      ip('-n', name, 'link', 'set', 'lo', 'up');
    }
    ip('link', 'add', 'cable', 'netns', this.one, 'type', 'veth', 'peer', 'name', 'cable', 'netns', this.other);
    ip('-n', this.one, 'addr', 'add', `${this.addresses.one}/24`, 'dev', 'cable');
    ip('-n', this.other, 'addr', 'add', `${this.addresses.other}/24`, 'dev', 'cable');
    this.plug();
  }

  plug(): void {
    for (const name of [this.one, this.other]) ip('-n', name, 'link', 'set', 'cable', 'up');
  }

  /** Unplugs the cable: all packets between the namespaces are lost. */
  pull(): void {
    ip('-n', this.other, 'link', 'set', 'cable', 'down');
  }

  run(where: 'one' | 'other', command: string[], env: Record<string, string> = {}): ChildProcess {
    return spawn('ip', ['netns', 'exec', this[where], ...command], { env: { ...process.env, ...env } });
  }

  /** Runs a command to completion. @throws Error with the output of the command if it fails */
  do(where: 'one' | 'other', ...command: string[]): string {
    return ip('netns', 'exec', this[where], ...command);
  }

  close(): void {
    for (const name of [this.one, this.other]) ip('netns', 'del', name);
  }
}
