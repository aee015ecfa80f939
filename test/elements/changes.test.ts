/** Changes to the attributes of an element: a call immediately after an assignment already uses the new value. */
import { expect } from '@open-wc/testing';
import {
  apiUrl,
  connect,
  freshName,
  make,
  messagesOf,
  next,
  service,
  until,
  type RondevuChat,
  type RondevuConnect,
  type RondevuService,
} from './helpers.js';

/** Creates a live host, and collects the messages that the host receives. */
async function host(): Promise<{ to: string; element: RondevuService; got: string[] }> {
  const name = freshName();
  const element = await service(name);
  const got = messagesOf(element);
  await element.ready;
  return { to: `chat:1.0.0@${name}`, element, got };
}

describe('<rondevu-connect> after an attribute change', () => {
  it('sends only to the new peer as soon as `to` is set', async () => {
    const [one, two] = [await host(), await host()];
    const joiner = await connect(one.to);
    const former = await joiner.ready;
    joiner.to = two.to;
    expect(joiner.connection).to.equal(undefined);
    joiner.send('for two');
    expect((await joiner.ready).peer!.username).to.equal(two.element.username);
    await until(() => two.got.length);
    expect(two.got).to.deep.equal(['for two']);
    expect(one.got).to.deep.equal([]);
    expect(() => former.send('late')).to.throw('closed');
  });

  it('sends to the new peer after setAttribute(), before and after the update', async () => {
    const [one, two] = [await host(), await host()];
    const joiner = await connect(one.to);
    await joiner.ready;
    joiner.setAttribute('to', two.to);
    joiner.send('at once');
    await joiner.updateComplete;
    joiner.send('after the update');
    await until(() => two.got.length === 2);
    expect(two.got).to.deep.equal(['at once', 'after the update']);
    expect(one.got).to.deep.equal([]);
  });

  it('drops messages that were queued for the previous peer', async () => {
    const two = await host();
    const name = freshName();
    const joiner = await connect(`chat:1.0.0@${name}`);
    const early = joiner.send('early, for the one who is not there');
    await next(joiner, 'rondevu-waiting');
    const queued = joiner.send('queued, for the one who is not there');
    joiner.to = two.to;
    expect(await Promise.all([early.delivered, queued.delivered])).to.deep.equal(['dropped', 'dropped']);
    joiner.send('for two');
    await until(() => two.got.length);
    expect(two.got).to.deep.equal(['for two']);
  });

  it('drops early messages if `to` changes before a connection exists', async () => {
    const [one, two] = [await host(), await host()];
    const joiner = await connect(one.to);
    await joiner.updateComplete;
    const early = joiner.send('for one');
    joiner.to = two.to;
    joiner.send('for two');
    expect(await early.delivered).to.equal('dropped');
    await until(() => two.got.length);
    expect(one.got).to.deep.equal([]);
  });

  it('rejoins with the new username and identity', async () => {
    const { to, element } = await host();
    const joiner = await connect(to);
    await joiner.ready;
    const username = freshName();
    const heard = next<{ data: string; peer: { username: string } }>(element, 'rondevu-message');
    joiner.username = username;
    joiner.identity = username;
    joiner.send('from the new name');
    const { data, peer } = await heard;
    expect([data, peer.username]).to.deep.equal(['from the new name', username]);
  });

  it('emits one close and one open event when several attributes change together', async () => {
    const [one, two] = [await host(), await host()];
    const joiner = await connect(one.to);
    await joiner.ready;
    const events: string[] = [];
    for (const name of ['rondevu-close', 'rondevu-open']) joiner.addEventListener(name, () => events.push(name));
    joiner.to = 'chat:1.0.0@nobody.there';
    joiner.username = freshName();
    joiner.to = two.to;
    await joiner.ready;
    expect(events).to.deep.equal(['rondevu-close', 'rondevu-open']);
  });

  it('stays closed if close() is called right after the change', async () => {
    const [one, two] = [await host(), await host()];
    const joiner = await connect(one.to);
    await joiner.ready;
    joiner.to = two.to;
    await joiner.close();
    await joiner.updateComplete;
    expect(joiner.state).to.equal('closed');
    expect(() => joiner.send('x')).to.throw('connect() first');
  });

  it('refuses messages while it is disabled', async () => {
    const { to, got } = await host();
    const joiner = await connect(to);
    await joiner.ready;
    joiner.disabled = true;
    expect(() => joiner.send('x')).to.throw('connect() first');
    await joiner.connect();
    expect(joiner.state).to.equal('closed');
    joiner.disabled = false;
    await joiner.updateComplete;
    joiner.send('enabled');
    await until(() => got.length);
    expect(got).to.deep.equal(['enabled']);
  });

  it('starts automatically when an invalid address is corrected', async () => {
    const { to } = await host();
    const joiner = await connect('no address');
    await next(joiner, 'rondevu-error');
    joiner.to = to;
    await joiner.ready;
    expect([joiner.state, joiner.errorCode, joiner.error]).to.deep.equal(['connected', '', undefined]);
  });
});

describe('<rondevu-service> after an attribute change', () => {
  it('does not broadcast to peers of the previous service', async () => {
    const { to, element } = await host();
    const joiner = await connect(to);
    const got = messagesOf(joiner);
    await joiner.ready;
    await until(() => element.peerCount === 1);
    element.service = 'other:1.0.0';
    expect(element.broadcast('to whoever is at the new one')).to.equal(0);
    expect(element.connections).to.deep.equal([]);
    await element.ready;
    expect([element.state, got]).to.deep.equal(['live', []]);
  });

  it('publishes again if the service is changed and immediately changed back', async () => {
    const { to, element } = await host();
    element.service = 'other:1.0.0';
    element.service = 'chat:1.0.0';
    await element.ready;
    await (
      await connect(to)
    ).ready;
  });
});

describe('<rondevu-chat> after an attribute change', () => {
  const text = (data: string) => (JSON.parse(data) as { text?: string }).text;
  const written = (got: string[]) => got.map(text).filter((each) => each !== undefined);
  const chat = async (attributes: Record<string, string>) =>
    (await make('rondevu-chat', { 'api-url': apiUrl, identity: 'none', ...attributes })) as RondevuChat;

  it('sends to the new peer immediately after `to` is set', async () => {
    const [one, two] = [await host(), await host()];
    const element = await chat({ to: one.to });
    await until(() => element.state === 'connected');
    element.to = two.to;
    expect(element.send('for two')).to.equal(true);
    await until(() => written(two.got).length);
    expect(written(two.got)).to.deep.equal(['for two']);
    expect(written(one.got)).to.deep.equal([]);
    expect(element.shadowRoot!.querySelectorAll('rondevu-connect')).to.have.length(1);
  });

  it('switches from joining to hosting when `service` replaces `to`', async () => {
    const one = await host();
    const element = await chat({ to: one.to });
    await until(() => one.element.peerCount === 1);
    const name = freshName();
    element.to = undefined;
    element.identity = undefined; // `none` would generate a new key, which could not claim the name
    element.username = name;
    element.service = 'chat:1.0.0';
    await until(() => element.state === 'live');
    await until(() => one.element.peerCount === 0);
    const joiner = await connect(`chat:1.0.0@${name}`);
    const got = messagesOf(joiner);
    await joiner.ready;
    await until(() => element.members === 2);
    element.send('from the new host');
    await until(() => written(got).length);
    element.service = 'other:1.0.0';
    await until(() => joiner.state === 'closed');
    await until(() => element.state === 'live');
  });

  it('sends through the new source immediately after `for` or `source` is set', async () => {
    const [one, two] = [await host(), await host()];
    const [first, second] = [await connect(one.to, { id: freshName() }), await connect(two.to, { id: freshName() })];
    await Promise.all([first.ready, second.ready]);
    const element = (await make('rondevu-chat', { for: first.id })) as RondevuChat;
    await until(() => element.state === 'connected');
    element.for = second.id;
    element.send('by for');
    await until(() => written(two.got).length === 1);
    element.for = undefined;
    element.source = first;
    element.send('by source');
    await until(() => written(one.got).length === 1);
    expect([written(one.got), written(two.got)]).to.deep.equal([['by source'], ['by for']]);
  });

  it('uses the new element when the element that `for` references is replaced', async () => {
    const one = await host();
    const first: RondevuConnect = await connect(one.to, { id: freshName() });
    await first.ready;
    const element = (await make('rondevu-chat', { for: first.id })) as RondevuChat;
    await until(() => element.state === 'connected');
    const second = first.cloneNode() as RondevuConnect;
    first.replaceWith(second);
    await second.ready;
    element.send('after the swap');
    await until(() => written(one.got).length);
    expect(written(one.got)).to.deep.equal(['after the swap']);
  });
});
