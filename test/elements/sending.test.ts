/** Messages that are sent before a connection exists, and broadcast messages. */
import { expect } from '@open-wc/testing';
import { apiUrl, connect, freshName, make, messagesOf, next, service, until, type RondevuService } from './helpers.js';

describe('an element that has no connection yet', () => {
  it('copies bytes when send() is called, and later delivers them in order', async () => {
    const host = await service(freshName());
    const got = messagesOf(host);
    await host.ready;
    const joiner = await connect(`chat:1.0.0@${host.username}`);
    const delivered: string[] = [];
    joiner.addEventListener('rondevu-delivered', ({ detail }: CustomEventInit<{ id: string }>) => delivered.push(detail!.id));
    await joiner.updateComplete;
    expect(joiner.connection).to.equal(undefined);
    const buffer = new Uint8Array(2);
    const handles = [1, 2, 3].map((n) => joiner.send(buffer.fill(n)));
    buffer.fill(9);
    expect(joiner.buffered).to.equal(3);
    expect(await Promise.all(handles.map((handle) => handle.delivered))).to.deep.equal(Array(3).fill('delivered'));
    expect(got).to.deep.equal(['1,1', '2,2', '3,3']);
    expect(delivered).to.deep.equal(handles.map(({ id }) => id));
    await until(() => !joiner.getAttribute('buffered') || joiner.getAttribute('buffered') === '0');
  });

  it('throws on an invalid value, and still sends the valid messages', async () => {
    const host = await service(freshName());
    const got = messagesOf(host);
    await host.ready;
    const joiner = await connect(`chat:1.0.0@${host.username}`);
    joiner.connectionConfig = { maxMessageSize: 10 };
    await joiner.updateComplete;
    joiner.send('one');
    expect(() => joiner.send({ an: 'object' } as unknown as string)).to.throw('send takes a string');
    expect(() => joiner.send(undefined as unknown as string)).to.throw('send takes a string');
    expect(() => joiner.send('x'.repeat(11))).to.throw('at most 10 bytes');
    joiner.send('two');
    await until(() => got.length === 2);
    expect(got).to.deep.equal(['one', 'two']);
    expect(joiner.errorCode).to.equal('');
  });

  it('keeps the newest maxBufferSize messages, and reports older ones as dropped', async () => {
    const joiner = await connect(`chat:1.0.0@${freshName()}`);
    joiner.connectionConfig = { maxBufferSize: 2 };
    await joiner.updateComplete;
    const handles = ['a', 'b', 'c'].map((text) => joiner.send(text));
    expect(await handles[0]!.delivered).to.equal('dropped');
    expect(joiner.buffered).to.equal(2);
    await next(joiner, 'rondevu-waiting');
    expect(joiner.connection!.takeBuffer().map(({ data }) => data)).to.deep.equal(['b', 'c']);
    expect(joiner.buffered).to.equal(0);
    await until(() => joiner.getAttribute('buffered') === '0');
    joiner.send('d');
    expect(joiner.buffered).to.equal(1);
    expect(await handles[2]!.delivered).to.equal('dropped');
  });

  it('refuses messages if bufferEnabled is false, and drops messages after a failure', async () => {
    const joiner = await connect(`chat:1.0.0@${freshName()}`);
    joiner.connectionConfig = { bufferEnabled: false };
    await joiner.updateComplete;
    expect(() => joiner.send('x')).to.throw('bufferEnabled is false');
    const failed = await connect('no address');
    await next(failed, 'rondevu-error');
    expect(await failed.send('x').delivered).to.equal('dropped');
    expect(() => failed.send(5 as unknown as string)).to.throw('send takes a string');
  });
});

describe('broadcast()', () => {
  it('reports an unreachable peer, and still sends to all other peers', async () => {
    const host = (await make('rondevu-service', {
      'api-url': apiUrl,
      service: 'chat:1.0.0',
      username: freshName(),
      'no-autostart': '',
    })) as RondevuService;
    host.connectionConfig = { bufferEnabled: false };
    await host.start();
    const joiners: { got: string[] }[] = [];
    for (let i = 0; i < 3; i++) {
      const joiner = await connect(`chat:1.0.0@${host.username}`);
      await joiner.ready;
      joiners.push({ got: messagesOf(joiner) });
    }
    await until(() => host.peerCount === 3);
    expect(() => host.broadcast(7 as unknown as string)).to.throw('send takes a string');
    const down = host.connections[0]!;
    down.getPeerConnection()!.close();
    await until(() => !down.isConnected());
    const reported = next<{ error: { code: string }; connection: unknown }>(host, 'rondevu-error');
    // broadcast immediately, because the connection recovers quickly
    expect(host.broadcast('to all who are here')).to.equal(2);
    const { error, connection } = await reported;
    expect([error.code, connection]).to.deep.equal(['not-connected', down]);
    expect(host.errorCode).to.equal('');
    await until(() => joiners.filter(({ got }) => got.includes('to all who are here')).length === 2);
  });
});
