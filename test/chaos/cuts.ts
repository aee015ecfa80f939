/** The kinds of cuts that a connection must survive; each function makes a cut and ends it. */
import { setTimeout as pause } from 'node:timers/promises';
import type { ServerProcess } from '../support/site.js';
import type { End } from './ends.js';
import type { Random } from '../support/random.js';
import type { Side, UdpProxy } from './udp-proxy.js';

export interface Field {
  host: End;
  joiner: End;
  rig: UdpProxy;
  server: ServerProcess;
  random: Random;
}

const rawClose = (end: End): Promise<void> =>
  end.run(({ connection }) => {
    connection?.getPeerConnection()?.close();
  });

/** Closes the current peer connection, and closes the next one as soon as its link reaches the given state. */
const closeOn = (end: End, state: 'checking' | 'connecting' | 'connected'): Promise<void> =>
  end.run(({ connection }, wanted) => {
    const listener = ({ newState }: { newState: string }): void => {
      if (newState !== wanted) return;
      connection!.off('state:changed', listener);
      connection!.getPeerConnection()?.close();
    };
    connection!.on('state:changed', listener);
    // losing this link leads to the next link, which the listener closes
    connection!.getPeerConnection()?.close();
  }, state);

const outage = async ({ rig }: Field, blackhole: Side[], ms: number): Promise<void> => {
  rig.set({ blackhole });
  await pause(ms);
  rig.set();
};

export const CUTS: Record<string, (field: Field) => Promise<void>> = {
  'raw close at the host': ({ host }) => rawClose(host),
  'raw close at the joiner': ({ joiner }) => rawClose(joiner),
  'raw close at both': async ({ host, joiner }) => void (await Promise.all([rawClose(host), rawClose(joiner)])),
  'the next link is closed as it connects': ({ joiner }) => closeOn(joiner, 'connected'),
  'the next link is closed at the host as it connects': ({ host }) => closeOn(host, 'connected'),
  'a short outage': (field) => outage(field, ['offerer', 'answerer'], field.random.between(300, 2000)),
  'a long outage': (field) => outage(field, ['offerer', 'answerer'], field.random.between(5000, 9000)),
  'one way to the joiner': (field) => outage(field, ['offerer'], field.random.between(1000, 8000)),
  'one way to the host': (field) => outage(field, ['answerer'], field.random.between(1000, 8000)),
  'a rebound port at the host': ({ rig }) => rig.rebind('offerer'),
  'a rebound port at the joiner': ({ rig }) => rig.rebind('answerer'),
  'bad weather': async ({ rig, random }) => {
    rig.set({ drop: 0.1 * random.next(), duplicate: 0.05, reorder: 0.05, delay: random.between(0, 30) });
    await pause(random.between(1000, 3000));
    rig.set();
  },
  'the server is killed': async ({ server, host, random }) => {
    await server.stop('SIGKILL');
    await rawClose(host);
    await pause(random.between(0, 1000));
    await server.start();
  },
  'the server stands still': async ({ server, joiner, random }) => {
    server.pause();
    await rawClose(joiner);
    await pause(random.between(100, 2000));
    server.resume();
  },
};
