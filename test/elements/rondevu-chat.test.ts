/**
 * <rondevu-chat>: conversations, authors, messages sent while the link is down, keyboard input, localised strings, and
 * accessibility.
 */
import { expect } from '@open-wc/testing';
import 'axe-core';
import type Axe from 'axe-core';
import { ConnectionError, ENGLISH, setStrings } from '../../dist/components/index.js';
import { IdentityChangedError, IndexedDbPinStore, pinOf } from '../../dist/src/identity/index.js';
import { apiUrl, freshName, make, next, until, type RondevuChat, type RondevuConnect, type RondevuService } from './helpers.js';

// axe is a classic script that defines a global variable
const { axe } = globalThis as unknown as { axe: typeof Axe };

const texts = (chat: RondevuChat) => [...chat.shadowRoot!.querySelectorAll('[part=bubble]')].map((bubble) => bubble.textContent);
const authors = (chat: RondevuChat) =>
  [...chat.shadowRoot!.querySelectorAll('[part=author]')].map((author) => author.textContent);
const statusLine = (chat: RondevuChat) => chat.shadowRoot!.querySelector('[role=status]')!.textContent!.trim();
const ownStatus = (chat: RondevuChat) =>
  [...chat.shadowRoot!.querySelectorAll('[part~=own] .meta:last-child span')].at(-1)?.textContent;
const input = (chat: RondevuChat) => chat.shadowRoot!.querySelector('textarea')!;

/** Creates a host and its joiners in one page. */
async function pair(
  joiners = 1,
): Promise<{ service: RondevuService; host: RondevuChat; joined: RondevuConnect[]; chats: RondevuChat[] }> {
  const name = freshName();
  const service = (await make(
    'rondevu-service',
    { 'api-url': apiUrl, service: 'chat:1.0.0', username: name },
    '<rondevu-chat></rondevu-chat>',
  )) as RondevuService;
  await service.ready;
  const joined: RondevuConnect[] = [];
  for (let i = 0; i < joiners; i++) {
    const joiner = await make(
      'rondevu-connect',
      { 'api-url': apiUrl, to: `chat:1.0.0@${name}`, identity: 'none' },
      '<rondevu-chat></rondevu-chat>',
    );
    await (joiner as RondevuConnect).ready;
    joined.push(joiner as RondevuConnect);
  }
  // the link can open at the joiner slightly earlier than at the host
  await until(() => service.peerCount === joiners);
  return {
    service,
    host: service.querySelector('rondevu-chat')!,
    joined,
    chats: joined.map((joiner) => joiner.querySelector('rondevu-chat')!),
  };
}

async function expectAccessible(chat: RondevuChat): Promise<void> {
  await chat.updateComplete;
  // axe must measure the contrast after the animations have finished
  await Promise.all(chat.shadowRoot!.getAnimations().map(({ finished }) => finished));
  const { violations } = await axe.run(chat);
  expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`)).to.deep.equal([]);
}

function press(chat: RondevuChat, key: string, init: KeyboardEventInit = {}): KeyboardEvent {
  const event = new KeyboardEvent('keydown', { key, bubbles: true, composed: true, cancelable: true, ...init });
  input(chat).dispatchEvent(event);
  return event;
}

describe('rondevu-chat', () => {
  it('two users chat using only the keyboard', async () => {
    const { host, chats } = await pair();
    const [chat] = chats as [RondevuChat];
    input(chat).value = 'hello';
    press(chat, 'Enter');
    await until(() => texts(host).includes('hello'));
    expect(input(chat).value).to.equal('');
    expect(authors(host)[0]).to.match(/^anon-/);
    expect(host.send('hi back')).to.equal(true);
    await until(() => texts(chat).includes('hi back'));
    expect(texts(chat)).to.deep.equal(['hello', 'hi back']);
    expect(authors(chat)[0]).to.equal('You');
    await until(() => ownStatus(chat) === 'delivered');
    await until(() => ownStatus(host) === 'delivered');
  });

  it('shows the delivery status of a message', async () => {
    const { service, joined, chats } = await pair();
    const [joiner] = joined as [RondevuConnect];
    const [chat] = chats as [RondevuChat];
    const heard = next<{ id: string }>(joiner, 'rondevu-delivered');
    chat.send('one');
    expect((await heard).id).to.be.a('string');
    await until(() => ownStatus(chat) === 'delivered');
    const handle = joiner.send('{}');
    expect(await handle.delivered).to.equal('delivered');
    await service.stop();
    await until(() => joiner.state === 'closed');
    chat.send('into the void');
    await until(() => ownStatus(chat) === 'not sent');
  });

  it('blocks a peer with a changed key until the user trusts the new key', async () => {
    const name = freshName();
    const host = await make('rondevu-service', { 'api-url': apiUrl, service: 'chat:1.0.0', username: name });
    await (host as RondevuService).ready;
    const old = 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=';
    await new IndexedDbPinStore().set(`${apiUrl}/${name}`, old);
    const joiner = (await make(
      'rondevu-connect',
      { 'api-url': apiUrl, to: `chat:1.0.0@${name}`, identity: 'none' },
      '<rondevu-chat></rondevu-chat>',
    )) as RondevuConnect;
    joiner.ready.catch(() => undefined);
    const { error } = await next<{ error: IdentityChangedError }>(joiner, 'rondevu-error');
    expect([error.code, error.username, error.old, error.new]).to.deep.equal([
      'identity-changed',
      name,
      old,
      (host as RondevuService).rondevu!.getPublicKey(),
    ]);
    expect(joiner.state).to.equal('failed');
    const chat = joiner.querySelector('rondevu-chat')!;
    await chat.updateComplete;
    expect(statusLine(chat)).to.contain('different key');
    await expectAccessible(chat);
    chat.shadowRoot!.querySelector<HTMLButtonElement>('[part=trust]')!.click();
    await until(() => joiner.state === 'connected');
    expect(joiner.verified).to.equal(true);
    expect(joiner.hasAttribute('verified')).to.equal(true);
    await until(() => !chat.shadowRoot!.querySelector('[part=trust]'));
    expect(joiner.peer!.pinned).to.equal(true);
  });

  it('joins a pinned address only if the pin matches the key of the peer', async () => {
    const name = freshName();
    const host = (await make('rondevu-service', { 'api-url': apiUrl, service: 'chat:1.0.0', username: name })) as RondevuService;
    await host.ready;
    const key = Uint8Array.from(atob(host.rondevu!.getPublicKey()), (c) => c.charCodeAt(0));
    const address = (pin: string) => ({ 'api-url': apiUrl, to: `chat:1.0.0@${name}#${pin}`, identity: 'none' });
    const right = (await make('rondevu-connect', address(await pinOf(key)))) as RondevuConnect;
    await right.ready;
    expect([right.peer!.verified, right.peer!.pinned]).to.deep.equal([true, true]);
    const wrong = (await make('rondevu-connect', address('A'.repeat(22)), '<rondevu-chat></rondevu-chat>')) as RondevuConnect;
    wrong.ready.catch(() => undefined);
    const { error } = await next<{ error: IdentityChangedError }>(wrong, 'rondevu-error');
    expect(error.code).to.equal('identity-changed');
    await until(() => statusLine(wrong.querySelector('rondevu-chat')!).includes('verified'));
    expect(wrong.querySelector('rondevu-chat')!.shadowRoot!.querySelector('[part=trust]')).to.equal(null);
  });

  it('inserts a line break on Shift+Enter, and ignores Enter during text composition', async () => {
    const { chats } = await pair();
    const [chat] = chats as [RondevuChat];
    input(chat).value = 'half';
    expect(press(chat, 'Enter', { shiftKey: true }).defaultPrevented).to.equal(false);
    expect(press(chat, 'Enter', { isComposing: true }).defaultPrevented).to.equal(false);
    expect(texts(chat)).to.deep.equal([]);
    expect(press(chat, 'Enter').defaultPrevented).to.equal(true);
    await until(() => texts(chat).length === 1);
  });

  it('shows who relayed a group message', async () => {
    const { host, chats, joined } = await pair(2);
    const [one, two] = chats as [RondevuChat, RondevuChat];
    one.send('to all');
    await until(() => texts(two).includes('to all') && texts(host).includes('to all'));
    const [writer] = joined as [RondevuConnect];
    expect(authors(two)[0]).to.equal(`${writer.rondevu!.getUsername()} via ${joined[1]!.peer!.username}`);
    expect(texts(one)).to.deep.equal(['to all']);
    await until(() => host.getAttribute('members') === '3');
  });

  it('takes the author from the authenticated peer, never from the message', async () => {
    const { host, joined } = await pair();
    const [joiner] = joined as [RondevuConnect];
    joiner.send(JSON.stringify({ type: 'message', text: 'I am alice', from: 'alice' }));
    await until(() => texts(host).includes('I am alice'));
    expect(authors(host)).to.deep.equal([joiner.rondevu!.getUsername()]);
  });

  it('removes control and bidirectional characters from relayed names', async () => {
    const { service, chats } = await pair();
    const [chat] = chats as [RondevuChat];
    service.broadcast(JSON.stringify({ type: 'message', text: 'x', from: 'ev\u202eil\u0007' }));
    await until(() => texts(chat).includes('x'));
    expect(authors(chat)[0]).to.match(/^evil via /);
  });

  it('exchanges identities with the peer', async () => {
    const name = freshName();
    const service = (await make(
      'rondevu-service',
      { 'api-url': apiUrl, service: 'chat:1.0.0', username: name },
      '<rondevu-chat></rondevu-chat>',
    )) as RondevuService;
    await service.ready;
    const raw = (await make('rondevu-connect', {
      'api-url': apiUrl,
      to: `chat:1.0.0@${name}`,
      identity: 'none',
    })) as RondevuConnect;
    await raw.ready;
    const answer = next<{ data: string }>(raw, 'rondevu-message');
    raw.send(JSON.stringify({ type: 'identify', from: 'me', publicKey: 'x' }));
    expect(JSON.parse((await answer).data)).to.deep.equal({
      type: 'identify_ack',
      from: name,
      publicKey: service.rondevu!.getPublicKey(),
    });
  });

  it('emits messages in an unknown format without displaying them', async () => {
    const { host, joined, service } = await pair();
    const [joiner] = joined as [RondevuConnect];
    for (const data of ['plain text', '{"type":"other"}', '{"type":"message"}', 'x'.repeat(20_000)]) {
      const handed = data.includes('"message"') ? undefined : next<{ data: string }>(host, 'rondevu-message');
      joiner.send(data);
      if (handed) expect((await handed).data).to.equal(data);
    }
    expect(texts(host)).to.deep.equal([]);
    expect(service.peerCount).to.equal(1);
  });

  it('shows markup as text', async () => {
    const { host, chats } = await pair();
    chats[0]!.send('<img src=x onerror=alert(1)>');
    await until(() => texts(host).length === 1);
    expect(texts(host)).to.deep.equal(['<img src=x onerror=alert(1)>']);
    expect(host.shadowRoot!.querySelector('img')).to.equal(null);
  });

  it('marks queued messages as waiting until the connection recovers', async () => {
    const { service, host, joined, chats } = await pair();
    const [chat] = chats as [RondevuChat];
    const [joiner] = joined as [RondevuConnect];
    const connection = joiner.connection!;
    await service.stop();
    await until(() => joiner.state === 'closed');
    expect(statusLine(chat)).to.equal('Closed');
    await service.start();
    await service.ready;
    await joiner.connect();
    const again = await joiner.ready;
    expect(again).to.not.equal(connection);
    // close the peer connection without notifying the engine, as if the network had failed
    const down = next(joiner, 'rondevu-reconnecting');
    again.getPeerConnection()!.close();
    await down;
    chat.send('while down');
    await chat.updateComplete;
    if (joiner.state !== 'connected') expect(chat.shadowRoot!.textContent).to.contain('waiting');
    await until(() => texts(host).includes('while down'));
    expect(joiner.connection).to.equal(again);
    await until(() => statusLine(chat).startsWith('Connected to'));
    await until(() => !chat.shadowRoot!.querySelector('[part~=own]')!.textContent!.includes('waiting'));
  });

  it('scrolls to a new message only if the list is already at the end', async () => {
    const { host, chats } = await pair();
    const [chat] = chats as [RondevuChat];
    chat.style.setProperty('--rondevu-chat-max-height', '260px');
    for (let i = 0; i < 12; i++) host.send(`line ${i}`);
    await until(() => texts(chat).length === 12);
    await chat.updateComplete;
    const log = chat.shadowRoot!.querySelector('[part=log]')!;
    expect(log.scrollHeight - log.scrollTop - log.clientHeight).to.be.lessThan(25);
    log.scrollTop = 0;
    await next(log, 'scroll').catch(() => undefined);
    host.send('below');
    await until(() => chat.unread === 1);
    await chat.updateComplete;
    const button = chat.shadowRoot!.querySelector<HTMLButtonElement>('.new')!;
    expect(button.textContent).to.equal('1 new');
    await expectAccessible(chat);
    button.click();
    await chat.updateComplete;
    expect(chat.unread).to.equal(0);
    expect(chat.hasAttribute('unread')).to.equal(false);
  });

  it('keeps the newest message in view when the element shrinks, unless the user has scrolled away', async () => {
    const { host, chats } = await pair();
    const [chat] = chats as [RondevuChat];
    chat.style.height = '400px';
    for (let i = 0; i < 12; i++) host.send(`a line that has enough words to need more rows when it is narrow, number ${i}`);
    await until(() => texts(chat).length === 12);
    await chat.updateComplete;
    const log = chat.shadowRoot!.querySelector('[part=log]')!;
    const below = () => log.scrollHeight - log.scrollTop - log.clientHeight;
    await until(() => below() < 25);
    Object.assign(chat.style, { width: '260px', height: '300px' });
    expect(below()).to.be.greaterThan(25);
    await until(() => below() < 25);
    log.scrollTop = 0;
    await next(log, 'scroll');
    chat.style.height = '250px';
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    expect(log.scrollTop).to.equal(0);
  });

  it('keeps at most `history` messages, and none after clear()', async () => {
    const { chats } = await pair();
    const [chat] = chats as [RondevuChat];
    chat.history = 3;
    for (let i = 0; i < 5; i++) chat.send(`m${i}`);
    await chat.updateComplete;
    expect(texts(chat)).to.deep.equal(['m2', 'm3', 'm4']);
    chat.clear();
    await chat.updateComplete;
    expect(texts(chat)).to.deep.equal([]);
  });

  it('uses the element that `for` references, or creates a source from an address', async () => {
    const name = freshName();
    const service = (await make('rondevu-service', {
      'api-url': apiUrl,
      service: 'chat:1.0.0',
      username: name,
      id: name,
    })) as RondevuService;
    await service.ready;
    const byId = (await make('rondevu-chat', { for: name })) as RondevuChat;
    await until(() => byId.state === 'live');
    const own = (await make('rondevu-chat', { to: `chat:1.0.0@${name}`, 'api-url': apiUrl, identity: 'none' })) as RondevuChat;
    await until(() => own.state === 'connected');
    own.send('by myself');
    await until(() => texts(byId).includes('by myself'));
  });

  it('passes its connection attributes to the source that it creates', async () => {
    const attributes = { 'api-url': apiUrl, username: freshName(), identity: 'none', 'ice-servers': 'google-stun' };
    const chat = await make('rondevu-chat', { ...attributes, to: `chat:1.0.0@${freshName()}` });
    const { apiUrl: url, username, identity, iceServers } = chat.shadowRoot!.querySelector<RondevuConnect>('rondevu-connect')!;
    expect([url, username, identity, iceServers]).to.deep.equal(Object.values(attributes));
    const servers = [{ urls: 'stun:192.0.2.1' }];
    Object.assign(chat, { iceServers: servers });
    await (chat as RondevuChat).updateComplete;
    expect(chat.shadowRoot!.querySelector<RondevuConnect>('rondevu-connect')!.iceServers).to.equal(servers);
  });

  it('has no composer when readonly, and does not send when disabled', async () => {
    const { chats } = await pair();
    const [chat] = chats as [RondevuChat];
    chat.readonly = true;
    await chat.updateComplete;
    expect(chat.shadowRoot!.querySelector('[part=composer]')).to.equal(null);
    await expectAccessible(chat);
    chat.readonly = false;
    chat.disabled = true;
    await chat.updateComplete;
    expect(input(chat).disabled).to.equal(true);
    expect(chat.send('x')).to.equal(false);
    await expectAccessible(chat);
  });

  it('accepts custom strings per language and per element', async () => {
    setStrings('de', { send: 'Senden', waitingForPeer: 'Noch niemand da' });
    const holder = await make('div', { lang: 'de-AT' });
    const chat = document.createElement('rondevu-chat');
    chat.strings = { composerLabel: 'Nachricht' };
    chat.setAttribute('to', `chat:1.0.0@${freshName()}`);
    chat.setAttribute('api-url', apiUrl);
    chat.setAttribute('identity', 'none');
    holder.append(chat);
    await until(() => chat.state === 'waiting');
    await chat.updateComplete;
    expect(chat.shadowRoot!.querySelector('[part=send]')!.textContent).to.equal('Senden');
    expect(chat.shadowRoot!.querySelector('label')!.textContent).to.equal('Nachricht');
    expect(statusLine(chat)).to.equal('Noch niemand da');
  });

  it('explains why there is no peer', async () => {
    const said = async (attributes: Record<string, string>, words: string) => {
      const chat = (await make('rondevu-chat', attributes)) as RondevuChat;
      await until(() => statusLine(chat) === words);
      return { chat, empty: chat.shadowRoot!.querySelector('[name=empty]')?.textContent?.trim() };
    };
    const to = `chat:1.0.0@${freshName()}`;
    const nobody = await said({ to, 'api-url': apiUrl, identity: 'none' }, ENGLISH.waitingForPeer);
    expect(nobody.empty).to.equal(ENGLISH.empty);
    expect(nobody.chat.hasAttribute('error-code')).to.equal(false);
    const sources: Record<string, string>[] = [{ to }, { service: 'chat:1.0.0', username: freshName() }];
    for (const attributes of sources) {
      const away = await said({ ...attributes, 'api-url': `${apiUrl}/nothing-here`, identity: 'none' }, ENGLISH.serverAway);
      expect([away.empty, away.chat.getAttribute('error-code')]).to.deep.equal(['', 'unavailable']);
      if (attributes['to']) expect(away.chat.state).to.equal('unreachable');
      away.chat.apiUrl = apiUrl;
      await until(() => /^(waiting|live)$/.test(away.chat.state) && !away.chat.hasAttribute('error-code'));
    }
    const wrong = await said({ to: 'alice', 'api-url': apiUrl, identity: 'none' }, ENGLISH.misconfigured);
    expect([wrong.empty, wrong.chat.getAttribute('error-code')]).to.deep.equal(['', 'bad-request']);
    const alone = await said({}, ENGLISH.noSource);
    expect(alone.empty).to.equal('');
    const idle = await make('rondevu-connect', { to, 'no-autostart': '' }, '<rondevu-chat></rondevu-chat>');
    await until(() => statusLine(idle.querySelector('rondevu-chat')!) === ENGLISH.idle);
  });

  it('marks messages that had no recipient or could not be sent', async () => {
    const { host } = await pair(0);
    host.send('to nobody');
    await host.updateComplete;
    expect(ownStatus(host)).to.equal(ENGLISH.nobody);
    const joiner = (await make(
      'rondevu-connect',
      { 'api-url': apiUrl, to: `chat:1.0.0@${freshName()}`, identity: 'none', timeout: '500' },
      '<rondevu-chat></rondevu-chat>',
    )) as RondevuConnect;
    const chat = joiner.querySelector('rondevu-chat')!;
    await until(() => joiner.state === 'waiting');
    chat.send('before the failure');
    await chat.updateComplete;
    expect(ownStatus(chat)).to.equal('waiting');
    await until(() => joiner.state === 'failed');
    await until(() => ownStatus(chat) === 'not sent');
    chat.send('after it');
    await chat.updateComplete;
    await until(() => ownStatus(chat) === 'not sent');
  });

  it('offers to trust a changed key while reconnecting to a known peer', async () => {
    const { joined, chats } = await pair();
    const [joiner, chat] = [joined[0]!, chats[0]!];
    const key = joiner.peer!.publicKey!;
    const cause = new IdentityChangedError(joiner.peer!.username, key, key);
    const error = new ConnectionError('identity-changed', cause.message, { cause });
    error.willRetry = true;
    joiner.connection!.emit('failed', error);
    await chat.updateComplete;
    expect(statusLine(chat)).to.contain('different key');
    const trust = () => chat.shadowRoot!.querySelector<HTMLButtonElement>('[part=trust]');
    trust()!.click();
    await until(() => !trust());
    expect(statusLine(chat)).to.contain('Connected to');
  });

  it('logs each misconfiguration once, with a remedy', async () => {
    const printed: string[] = [];
    const { error } = console;
    console.error = (text: string) => void printed.push(text);
    try {
      await make('rondevu-connect', { to: 'alice', 'api-url': apiUrl });
      await until(() => printed.length);
      expect(printed[0]).to.contain('got "alice"').and.to.contain('Correct the attribute');
      await make('rondevu-service', { service: 'chat:1.0.0', username: 'No Name', 'api-url': apiUrl });
      await until(() => printed.length === 2);
      expect(printed[1]).to.contain('No Name');
      await make('rondevu-connect', { to: `chat:1.0.0@${freshName()}`, 'api-url': `${apiUrl}/nothing-here` });
      await until(() => printed.length === 3);
      expect(printed[2]).to.contain('/nothing-here').and.to.contain('api-url');
      await make('rondevu-chat', {});
      await until(() => printed.length === 4);
      expect(printed[3]).to.contain('has no source').and.to.contain('Put it inside a <rondevu-service>');
    } finally {
      console.error = error;
    }
  });

  it('keeps the composer visible at any height and readable with any accent colour', async () => {
    for (const [height, expected] of [
      ['100%', 300],
      ['auto', undefined],
    ] as const) {
      const holder = (await make('div', { style: 'height: 300px' })) as HTMLElement;
      const chat = document.createElement('rondevu-chat');
      chat.style.height = height;
      holder.append(chat);
      const service = document.createElement('rondevu-service');
      chat.source = service;
      await chat.updateComplete;
      const base = chat.shadowRoot!.querySelector('[part=base]')!.getBoundingClientRect();
      const send = chat.shadowRoot!.querySelector('[part=send]')!.getBoundingClientRect();
      expect(send.bottom).to.be.at.most(base.bottom);
      if (expected) expect(base.height).to.equal(expected);
      else expect(base.height).to.be.greaterThan(150);
    }
    const { host } = await pair(0);
    host.send('one');
    for (const accent of ['#ffff00', '#777777', '#7f7f00', '#000080', '#ff00ff', '#ff6f61']) {
      host.style.setProperty('--rondevu-chat-accent', accent);
      await expectAccessible(host);
    }
  });

  it('shows the keyboard focus, and sets the text direction per message', async () => {
    const { host } = await pair(0);
    const button = host.shadowRoot!.querySelector<HTMLButtonElement>('[part=send]')!;
    input(host).focus();
    button.focus();
    const { outlineStyle, outlineColor, outlineOffset, backgroundColor } = getComputedStyle(button);
    expect([outlineStyle, outlineOffset]).to.deep.equal(['solid', '2px']);
    expect(outlineColor).to.not.equal(backgroundColor);
    host.send('שלום');
    await host.updateComplete;
    expect(getComputedStyle(host.shadowRoot!.querySelector('[part=bubble]')!).direction).to.equal('rtl');
    expect(input(host).dir).to.equal('auto');
  });

  it('has no axe violations in any state, in light or dark mode', async () => {
    const { service, host, chats, joined } = await pair();
    const [chat] = chats as [RondevuChat];
    await expectAccessible(chat); // empty, connected
    chat.send('one');
    host.send('two');
    await until(() => texts(chat).length === 2 && texts(host).length === 2);
    for (const scheme of ['light', 'dark']) {
      for (const element of [chat, host]) {
        element.style.colorScheme = scheme;
        element.style.background = scheme === 'dark' ? '#000' : '#fff';
        await expectAccessible(element);
      }
    }
    joined[0]!.connection!.getPeerConnection()!.close();
    await until(() => /reconnecting|disconnected/.test(joined[0]!.state) || joined[0]!.rotations > 0);
    await expectAccessible(chat);
    await until(() => joined[0]!.state === 'connected' && service.peerCount === 1);
    await service.stop();
    await until(() => joined[0]!.state === 'closed');
    await expectAccessible(chat);
    await expectAccessible(host);
    const waiting = (await make('rondevu-chat', {
      to: `chat:1.0.0@${freshName()}`,
      'api-url': apiUrl,
      identity: 'none',
    })) as RondevuChat;
    await until(() => waiting.state === 'waiting');
    await expectAccessible(waiting);
    const failed = (await make('rondevu-chat', { to: 'not an address', 'api-url': apiUrl, identity: 'none' })) as RondevuChat;
    await until(() => failed.state === 'failed');
    await expectAccessible(failed);
    await expectAccessible((await make('rondevu-chat', {})) as RondevuChat);
  });
});
