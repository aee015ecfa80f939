/**
 * <rondevu-service> and <rondevu-connect>: publishing, joining, exchanging messages, closing, and the documented order of
 * events.
 */
import { expect } from '@open-wc/testing';
import {
  apiUrl,
  connect,
  freshName,
  make,
  next,
  record,
  service,
  until,
  type RondevuConnect,
  type RondevuService,
} from './helpers.js';

const SERVICE_EVENTS = [
  'rondevu-state',
  'rondevu-published',
  'rondevu-connection',
  'rondevu-message',
  'rondevu-disconnected',
  'rondevu-left',
  'rondevu-error',
];
const CONNECT_EVENTS = ['rondevu-state', 'rondevu-waiting', 'rondevu-open', 'rondevu-message', 'rondevu-close', 'rondevu-error'];

describe('rondevu-service and rondevu-connect', () => {
  it('a host and a joiner connect, exchange text and bytes, and close', async () => {
    const name = freshName();
    const host = document.createElement('rondevu-service');
    const hostEvents = record(host, SERVICE_EVENTS);
    host.setAttribute('api-url', apiUrl);
    host.setAttribute('service', 'chat:1.0.0');
    host.setAttribute('username', name);
    document.body.append(host);
    await host.ready;
    expect(host.getAttribute('state')).to.equal('live');
    await until(() => host.getAttribute('offer-count') === '5');
    expect(hostEvents).to.deep.equal(['rondevu-state:publishing', 'rondevu-state:live', 'rondevu-published']);

    const joiner = document.createElement('rondevu-connect');
    const joinerEvents = record(joiner, CONNECT_EVENTS);
    joiner.setAttribute('api-url', apiUrl);
    joiner.setAttribute('to', `chat:1.0.0@${name}`);
    joiner.setAttribute('identity', 'none');
    const joined = next<{ peer: { username: string } }>(host, 'rondevu-connection');
    document.body.append(joiner);
    const connection = await joiner.ready;
    expect((await joined).peer.username).to.match(/^anon-[a-z2-7]{26}$/);
    expect(joiner.getAttribute('state')).to.equal('connected');
    expect(joiner.getAttribute('peer')).to.equal(name);
    expect(joiner.connection).to.equal(connection);
    expect(joinerEvents.slice(0, 4)).to.deep.equal([
      'rondevu-state:initializing',
      'rondevu-state:gathering',
      'rondevu-state:signaling',
      'rondevu-state:checking',
    ]);
    expect(joinerEvents.slice(-2)).to.deep.equal(['rondevu-state:connected', 'rondevu-open']);

    const atHost = next<{ data: unknown }>(host, 'rondevu-message');
    joiner.send('hello');
    expect((await atHost).data).to.equal('hello');
    const atJoiner = next<{ data: ArrayBuffer }>(joiner, 'rondevu-message');
    host.broadcast(Uint8Array.of(1, 2, 250));
    expect([...new Uint8Array((await atJoiner).data)]).to.deep.equal([1, 2, 250]);
    const blobAtHost = next<{ data: ArrayBuffer }>(host, 'rondevu-message');
    joiner.send(new Blob(['blob']));
    expect(new TextDecoder().decode((await blobAtHost).data)).to.equal('blob');

    const left = next<{ reason: string }>(host, 'rondevu-left');
    const closed = next<{ reason: string }>(joiner, 'rondevu-close');
    await joiner.close();
    expect((await closed).reason).to.equal('closed here');
    expect((await left).reason).to.equal('closed by the peer');
    expect(joiner.state).to.equal('closed');
    await until(() => host.getAttribute('peer-count') === '0');
    expect(hostEvents).to.not.include('rondevu-disconnected');
    host.remove();
    joiner.remove();
  });

  it('a joiner waits for the host to publish, and then sends its queued messages', async () => {
    const name = freshName();
    const joiner = await connect(`chat:1.0.0@${name}`);
    const events = record(joiner, CONNECT_EVENTS);
    joiner.send('written early');
    await next(joiner, 'rondevu-waiting');
    expect(joiner.getAttribute('state')).to.equal('waiting');
    const host = await service(name);
    const message = next<{ data: string }>(host, 'rondevu-message');
    await joiner.ready;
    expect((await message).data).to.equal('written early');
    expect(events.filter((event) => event === 'rondevu-open')).to.have.length(1);
  });

  it('a joiner fails with a timeout error if no host appears in time', async () => {
    const joiner = await connect(`chat:1.0.0@${freshName()}`, { timeout: '300' });
    const { error } = await next<{ error: { code: string } }>(joiner, 'rondevu-error');
    expect(error.code).to.equal('timeout');
    expect(joiner.getAttribute('state')).to.equal('failed');
    expect(joiner.getAttribute('error-code')).to.equal('timeout');
  });

  it('a service whose username belongs to a different key fails with name-taken', async () => {
    const name = freshName();
    const first = await service(name);
    await first.ready;
    const second = await service(name, { identity: 'none' });
    const { error } = await next<{ error: { code: string } }>(second, 'rondevu-error');
    expect(error.code).to.equal('name-taken');
    expect(second.getAttribute('state')).to.equal('failed');
  });

  it('elements with the same api-url, username and identity share one client', async () => {
    const name = freshName();
    const first = await service(name);
    const second = await service(name, { service: 'other:1.0.0' });
    await Promise.all([first.ready, second.ready]);
    expect(first.rondevu).to.equal(second.rondevu);
    const third = await service(freshName());
    await third.ready;
    expect(third.rondevu).to.not.equal(first.rondevu);
  });

  it('elements keep their connection when they are moved in the document', async () => {
    const name = freshName();
    const host = await service(name);
    const joiner = await connect(`chat:1.0.0@${name}`);
    const connection = await joiner.ready;
    const elsewhere = document.createElement('section');
    document.body.append(elsewhere);
    elsewhere.append(joiner, host);
    await new Promise((resolve) => setTimeout(resolve));
    expect(joiner.connection).to.equal(connection);
    const message = next<{ data: string }>(host, 'rondevu-message');
    joiner.send('moved');
    expect((await message).data).to.equal('moved');
    elsewhere.remove();
    await until(() => connection.getState() === 'closed' && host.state === 'stopped');
  });

  it('a joiner whose address changes twice connects only to the final address', async () => {
    const [one, two] = [freshName(), freshName()];
    await Promise.all([(await service(one)).ready, (await service(two)).ready]);
    const joiner = await connect(`chat:1.0.0@${one}`);
    const first = await joiner.ready;
    joiner.to = 'chat:1.0.0@nobody.there';
    joiner.to = `chat:1.0.0@${two}`;
    await until(() => joiner.connection && joiner.connection !== first && joiner.connection.isConnected());
    expect(joiner.connection?.peer?.username).to.equal(two);
    expect(first.getState()).to.equal('closed');
  });

  it('a live service applies a new max-offers value', async () => {
    const host = await service(freshName(), { 'max-offers': '2' });
    await host.ready;
    await until(() => host.getAttribute('offer-count') === '2');
    host.maxOffers = 4;
    await until(() => host.getAttribute('offer-count') === '4');
    host.maxOffers = 1;
    await until(() => host.getAttribute('offer-count') === '1');
    expect(host.state).to.equal('live');
  });

  it('a service does not start with no-autostart, and stops when disabled', async () => {
    const host = (await make('rondevu-service', {
      'api-url': apiUrl,
      service: 'chat:1.0.0',
      username: freshName(),
      'no-autostart': '',
    })) as RondevuService;
    await host.updateComplete;
    expect(host.getAttribute('state')).to.equal('idle');
    await host.start();
    await host.ready;
    host.disabled = true;
    await until(() => host.state === 'stopped');
    host.disabled = false;
    host.noAutostart = false;
    await host.start();
    await host.ready;
  });

  it('a service ignores changes to the attributes that reflect its state', async () => {
    const host = await service(freshName());
    await host.ready;
    host.setAttribute('state', 'nonsense');
    host.setAttribute('offer-count', '99');
    expect(host.state).to.equal('live');
    expect(host.offerCount).to.equal(5);
    await host.stop();
    expect(host.getAttribute('state')).to.equal('stopped');
  });

  it('lifecycle events bubble, but message events do not', async () => {
    const name = freshName();
    const host = await service(name);
    const bubbled: string[] = [];
    for (const event of ['rondevu-connection', 'rondevu-message']) document.addEventListener(event, () => bubbled.push(event));
    const joiner = await connect(`chat:1.0.0@${name}`);
    const detail = await next(host, 'rondevu-connection');
    expect(Object.isFrozen(detail)).to.equal(true);
    const message = next(host, 'rondevu-message');
    joiner.send('x');
    await message;
    expect(bubbled).to.deep.equal(['rondevu-connection']);
  });

  it('a joiner rejected by `accept` does not block the next joiner', async () => {
    const name = freshName();
    const host = (await make('rondevu-service', {
      'api-url': apiUrl,
      service: 'chat:1.0.0',
      username: name,
      'no-autostart': '',
    })) as RondevuService;
    const asked: string[] = [];
    host.accept = ({ username }) => (asked.push(username), asked.length > 1);
    await host.start();
    const refused = (await connect(`chat:1.0.0@${name}`)) as RondevuConnect;
    await until(() => asked.length === 1);
    const welcome = await connect(`chat:1.0.0@${name}`);
    await welcome.ready;
    expect(refused.state).to.not.equal('connected');
  });

  it('a service inherits api-url from an ancestor or a meta element', async () => {
    const meta = document.createElement('meta');
    meta.name = 'rondevu-api-url';
    meta.content = apiUrl;
    document.head.append(meta);
    const host = (await make('rondevu-service', { service: 'chat:1.0.0', username: freshName() })) as RondevuService;
    await host.ready;
    expect(host.rondevu?.api.baseUrl).to.equal(apiUrl);
    meta.remove();
    const holder = await make('div', { 'api-url': apiUrl });
    const inner = document.createElement('rondevu-service');
    inner.setAttribute('service', 'chat:1.0.0');
    inner.setAttribute('username', freshName());
    holder.append(inner);
    await inner.ready;
    expect(inner.rondevu?.api.baseUrl).to.equal(apiUrl);
  });

  it('a joiner reports an invalid address', async () => {
    const joiner = await connect('chat@alice');
    const { error } = await next<{ error: Error & { code: string } }>(joiner, 'rondevu-error');
    expect(error.code).to.equal('bad-request');
    expect(error.message).to.contain('chat@alice').and.to.contain('MAJOR.MINOR.PATCH');
    expect(() => joiner.send('x')).to.not.throw();
  });
});
