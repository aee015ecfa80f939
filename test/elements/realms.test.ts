/** Errors from a different realm, and from a second copy of the bundle in the same page. */
import { expect } from '@open-wc/testing';
import { toError } from '../../dist/components/base-element.js';
import { make } from './helpers.js';

async function frameWindow(): Promise<typeof globalThis> {
  const frame = (await make('iframe', { srcdoc: '<!doctype html><title>frame</title><body></body>' })) as HTMLIFrameElement;
  await new Promise((resolve) => frame.addEventListener('load', resolve, { once: true }));
  return frame.contentWindow as unknown as typeof globalThis;
}

describe('errors from a different realm', () => {
  it('toError preserves the message and the code of an error from a different realm', async () => {
    const frame = await frameWindow();
    const foreign = new frame.Error('of another realm');
    expect(toError(foreign)).to.include({ code: 'unsupported', message: 'of another realm', cause: foreign });
    const taken = Object.assign(foreign, { code: 'name-taken' });
    expect(toError(taken)).to.equal(taken);
    expect(toError('a text')).to.include({ code: 'unsupported', message: 'a text' });
    expect(toError(undefined)).to.include({ code: 'unsupported', message: 'undefined' });
    expect(toError(new DOMException('gone', 'AbortError')).code).to.equal('unsupported');
  });
});
