/**
 * Runs the elements without APIs that the oldest supported browsers lack. The test has its own file because deleting these APIs
 * would affect other tests.
 */
import { expect } from '@open-wc/testing';

/** APIs that Chrome 120, Firefox 121 or Safari 17.2 does not support. */
const NEWER: [object, string[]][] = [
  [AbortSignal, ['any']],
  [Promise, ['withResolvers', 'try']],
  [String.prototype, ['isWellFormed', 'toWellFormed']],
  [URL, ['parse']],
  [Object, ['groupBy']],
  [Map, ['groupBy']],
  [Array, ['fromAsync']],
  [Set.prototype, ['union', 'intersection', 'difference', 'isSubsetOf']],
  [ArrayBuffer.prototype, ['transfer', 'transferToFixedLength']],
  [Uint8Array, ['fromBase64', 'fromHex']],
  [Uint8Array.prototype, ['toBase64', 'toHex']],
  [Element.prototype, ['checkVisibility', 'moveBefore', 'getHTML', 'setHTMLUnsafe']],
  [ElementInternals.prototype, ['states']],
  [IDBFactory.prototype, ['databases']],
  [globalThis, ['requestIdleCallback', 'scheduler', 'Iterator']],
  [Math, ['sumPrecise']],
  [RegExp, ['escape']],
];
for (const [object, names] of NEWER) for (const name of names) Reflect.deleteProperty(object, name);

// import the elements only after the APIs have been deleted
const { connect, freshName, messagesOf, service, until } = await import('./helpers.js');

describe('in the oldest supported browsers', () => {
  it('newer APIs are missing', () => {
    expect('any' in AbortSignal || 'withResolvers' in Promise || 'isWellFormed' in String.prototype).to.equal(false);
  });

  it('two elements connect and exchange messages', async () => {
    const username = freshName();
    const host = await service(username);
    await until(() => host.state === 'live');
    const joiner = await connect(`chat:1.0.0@${username}`);
    const got = messagesOf(host);
    joiner.send('hello');
    await until(() => got.length);
    expect(got).to.deep.equal(['hello']);
  });
});
