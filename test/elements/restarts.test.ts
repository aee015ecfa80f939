/**
 * Closing and restarting elements: page swaps, reconnecting in an event handler, restarting after a failure, and cloned
 * elements.
 */
import { expect } from '@open-wc/testing';
import { Rondevu } from '../../dist/src/index.js';
import {
  IndexedDbKeyStore,
  createIdentity,
  exportIdentity,
  importIdentity,
  keepIdentity,
} from '../../dist/src/identity/index.js';
import {
  apiUrl,
  connect,
  freshName,
  make,
  messagesOf,
  next,
  record,
  service,
  until,
  type RondevuConnect,
  type RondevuService,
} from './helpers.js';

/** Replaces an element with a copy parsed from its HTML, as libraries that swap page content do. */
function swap<T extends Element>(element: T): T {
  const holder = document.createElement('template');
  holder.innerHTML = element.outerHTML;
  const replacement = document.importNode(holder.content, true).firstElementChild as T;
  element.replaceWith(replacement);
  return replacement;
}

describe('an element that replaces an identical one', () => {
  it('publishes the service while the old element is still in its grace period', async () => {
    const name = freshName();
    const old = await service(name);
    await old.ready;
    const events = record(old, ['rondevu-state']);
    const replacement = swap(old);
    await replacement.ready;
    expect(replacement.state).to.equal('live');
    expect([old.state, events]).to.deep.equal(['stopped', ['rondevu-state:stopped']]);
    await (
      await connect(`chat:1.0.0@${name}`)
    ).ready;
  });

  it('publishes the service even if the old element was still publishing it', async () => {
    const name = freshName();
    const old = await service(name);
    await old.updateComplete;
    const replacement = swap(old);
    await replacement.ready;
    await (
      await connect(`chat:1.0.0@${name}`)
    ).ready;
    expect(replacement.errorCode).to.equal('');
  });

  it('a replaced joiner receives no more messages', async () => {
    const host = await service(freshName());
    await host.ready;
    const old = await connect(`chat:1.0.0@${host.username}`);
    await old.ready;
    const late = messagesOf(old);
    const replacement = swap(old);
    const got = messagesOf(replacement);
    await replacement.ready;
    await until(() => host.peerCount === 1);
    host.broadcast('after the swap');
    await until(() => got.length);
    expect([old.state, late]).to.deep.equal(['closed', []]);
  });

  it('a service is live after alternating stop() and start() calls in one task', async () => {
    const host = await service(freshName());
    await host.ready;
    void host.stop();
    void host.start();
    void host.stop();
    void host.start();
    await host.ready;
    expect([host.state, host.errorCode]).to.deep.equal(['live', '']);
    await (
      await connect(`chat:1.0.0@${host.username}`)
    ).ready;
  });
});

describe('an element that has closed or failed', () => {
  for (const handled of ['rondevu-close', 'rondevu-state']) {
    it(`reconnects, with a single rondevu-close event, if a ${handled} handler calls connect()`, async () => {
      const host = await service(freshName());
      await host.ready;
      const joiner = await connect(`chat:1.0.0@${host.username}`);
      await joiner.ready;
      const events = record(joiner, ['rondevu-state', 'rondevu-close', 'rondevu-open']);
      let left = 1;
      joiner.addEventListener(handled, ({ detail }: CustomEventInit<{ to?: string }>) => {
        if ((handled === 'rondevu-close' || detail?.to === 'closed') && left-- > 0) void joiner.connect();
      });
      await until(() => host.peerCount === 1);
      await host.disconnectAll();
      await next(joiner, 'rondevu-open');
      const closed = handled === 'rondevu-state' ? ['rondevu-state:closed'] : [];
      expect(events.slice(0, closed.length + 2)).to.deep.equal(['rondevu-close', ...closed, 'rondevu-state:initializing']);
      expect(events.filter((event) => event === 'rondevu-close')).to.have.length(1);
      expect((await joiner.ready).isConnected()).to.equal(true);
    });
  }

  it('emits rondevu-close once if a rondevu-open handler calls close()', async () => {
    const host = await service(freshName());
    await host.ready;
    const joiner = await connect(`chat:1.0.0@${host.username}`);
    const events = record(joiner, ['rondevu-state', 'rondevu-open', 'rondevu-close']);
    joiner.addEventListener('rondevu-open', () => void joiner.close());
    await until(() => events.includes('rondevu-state:closed'));
    expect(events.slice(-4)).to.deep.equal(['rondevu-state:connected', 'rondevu-open', 'rondevu-close', 'rondevu-state:closed']);
    await until(() => host.peerCount === 0);
  });

  it('emits rondevu-close once if close() is called repeatedly', async () => {
    const joiner = await connect(`chat:1.0.0@${freshName()}`);
    await next(joiner, 'rondevu-waiting');
    const events = record(joiner, ['rondevu-close', 'rondevu-state']);
    await joiner.close();
    const once = [...events];
    expect(once.length).to.equal(2);
    await joiner.close();
    expect(events).to.deep.equal(once);
  });

  it('tries again if the error handler calls connect() after a timeout error', async () => {
    const name = freshName();
    const joiner = await connect(`chat:1.0.0@${name}`, { timeout: '300' });
    const events = record(joiner, ['rondevu-state', 'rondevu-error', 'rondevu-close']);
    joiner.addEventListener('rondevu-error', () => void joiner.connect(), { once: true });
    await next(joiner, 'rondevu-close');
    expect(events.slice(-4)).to.deep.equal([
      'rondevu-state:failed',
      'rondevu-error',
      'rondevu-close',
      'rondevu-state:initializing',
    ]);
    joiner.timeout = undefined;
    const host = await service(name);
    await Promise.all([host.ready, joiner.ready]);
  });

  it('can be restarted once a different element has stopped publishing the same service', async () => {
    const name = freshName();
    const first = await service(name);
    await first.ready;
    const second = await service(name, { 'max-offers': '2' });
    const { error } = await next<{ error: { code: string } }>(second, 'rondevu-error');
    expect([error.code, second.state]).to.deep.equal(['already-published', 'failed']);
    await second.start();
    expect(second.errorCode).to.equal('already-published');
    await first.stop();
    await second.start();
    await second.ready;
    expect([second.state, second.errorCode]).to.deep.equal(['live', '']);
  });

  it('reports a taken username once, and rejects `ready` with the error', async () => {
    const name = freshName();
    await (
      await service(name)
    ).ready;
    const second = (await make('rondevu-service', {
      'api-url': apiUrl,
      service: 'chat:1.0.0',
      username: name,
      identity: 'none',
    })) as RondevuService;
    const events = record(second, ['rondevu-error']);
    const code = await second.ready.then(
      () => 'live',
      (error: { code: string }) => error.code,
    );
    expect(code).to.equal('name-taken');
    // the server first refuses the call, and then the WebSocket session
    await until(() => second.rondevu?.signalingState !== 'connecting');
    expect(events).to.deep.equal(['rondevu-error']);
  });
});

describe('the identity attribute', () => {
  it('the value "none" keeps the key until the username changes', async () => {
    const host = await service(freshName(), { identity: 'none' });
    await host.ready;
    const key = host.rondevu!.getPublicKey();
    await host.stop();
    await host.start();
    await host.ready;
    expect([host.state, host.rondevu!.getPublicKey()]).to.deep.equal(['live', key]);
    host.username = freshName();
    await host.updateComplete;
    await host.ready;
    expect(host.rondevu!.getPublicKey()).not.to.equal(key);
  });

  it('the name of an imported key selects that key', async () => {
    const [name, username] = [`carried ${freshName()}`, freshName()];
    const carried = await createIdentity();
    const owner = await Rondevu.connect({ apiUrl, identity: carried, username });
    await (await owner.publishService({ service: 'files:1.0.0' })).start();
    const text = await exportIdentity(carried, 'a long passphrase');
    await keepIdentity(name, await importIdentity(text, 'a long passphrase'));
    const host = await service(username, { identity: name });
    await host.ready;
    expect(host.rondevu!.getPublicKey()).to.equal(carried.publicKey);
    expect((await new IndexedDbKeyStore().getOrCreate(name)).exportable).to.equal(false);
    await owner.close();
  });

  it('the value "none" without a username generates a new key at every start', async () => {
    const element = await connect(`chat:1.0.0@${freshName()}`);
    await until(() => element.rondevu);
    const key = element.rondevu!.getPublicKey();
    await element.close();
    void element.connect();
    await until(() => element.rondevu && element.rondevu.getPublicKey() !== key);
  });
});

describe('a service whose later offers are refused by the server', () => {
  const { fetch, WebSocket } = globalThis;
  afterEach(() => Object.assign(globalThis, { fetch, WebSocket }));

  it('fails without losing its peers, and can be restarted', async () => {
    // makes every call use HTTP, where the test can change the replies
    Object.assign(globalThis, { WebSocket: undefined });
    const host = await service(freshName(), { identity: 'none' });
    await host.ready;
    await (
      await connect(`chat:1.0.0@${host.username}`)
    ).ready;
    await until(() => host.peerCount === 1);
    globalThis.fetch = async (url, init) => {
      const response = await fetch(url, init);
      if (!String(init?.body).includes('publishService')) return response;
      const refuse = () => ({ success: false, error: 'no more', code: 'forbidden' });
      const replies = (await response.json()) as object | object[];
      return new Response(JSON.stringify(Array.isArray(replies) ? replies.map(refuse) : refuse()), response);
    };
    host.maxOffers += 3;
    await until(() => host.state === 'failed');
    expect([host.errorCode, host.peerCount]).to.deep.equal(['forbidden', 1]);
    globalThis.fetch = fetch;
    await host.start();
    await host.ready;
    expect([host.state, host.errorCode]).to.deep.equal(['live', '']);
  });
});

describe('a clone of a running element', () => {
  it('does not copy the state of the original element', async () => {
    const host = await service(freshName());
    await host.ready;
    const joiner = await connect(`chat:1.0.0@${host.username}`);
    await joiner.ready;
    const chat = document.createElement('rondevu-chat');
    joiner.append(chat);
    await until(() => joiner.hasAttribute('verified') && host.getAttribute('peer-count') === '1' && chat.hasAttribute('members'));
    const holder = (await make('div', {})) as HTMLElement;
    for (const element of [host, joiner]) {
      const copy = element.cloneNode(true) as RondevuService | RondevuConnect;
      copy.noAutostart = true;
      copy.setAttribute('rotations', '3');
      copy.setAttribute('error-code', 'timeout');
      holder.append(copy);
      await copy.updateComplete;
      await copy.querySelector('rondevu-chat')?.updateComplete;
      const { outerHTML } = copy;
      expect(outerHTML).to.match(/ state="idle"/);
      expect(outerHTML).to.not.match(/state="(connected|live)"|peer|offer-count|verified|rotations|error-code|members/);
    }
  });

  it('a closed element shows no peer', async () => {
    const host = await service(freshName());
    await host.ready;
    const joiner = await connect(`chat:1.0.0@${host.username}`);
    await joiner.ready;
    await joiner.close();
    expect(joiner.getAttributeNames().sort()).to.deep.equal(['api-url', 'identity', 'state', 'to']);
    expect([joiner.verified, joiner.peer, joiner.attempt]).to.deep.equal([false, undefined, 0]);
  });
});
