/** Errors from other realms and from a second bundle on the page. */
import { expect } from '@open-wc/testing';
import { toError } from '../../dist/components/base-element.js';
import { make } from './helpers.js';

async function frameWindow(): Promise<typeof globalThis> {
  const frame = (await make('iframe', { srcdoc: '<!doctype html><title>frame</title><body></body>' })) as HTMLIFrameElement;
  await new Promise((resolve) => frame.addEventListener('load', resolve, { once: true }));
  return frame.contentWindow as unknown as typeof globalThis;
}

describe('errors from another realm', () => {
  it('keep their message, and their code if they have one', async () => {
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
