/** Elements in pages without storage, and in pages whose database was written by a newer build. */
import { expect } from '@open-wc/testing';
import { apiUrl, connect, freshName, make, service, until } from './helpers.js';

const elements = new URL('../../dist/components/index.js', import.meta.url).href;

/**
 * Loads a page in a frame with an opaque origin, which has no storage. Resolves with the first outcome that the element in the
 * frame reports: an error or the expected state.
 */
async function sandboxed(markup: string, state: string): Promise<{ frame: HTMLIFrameElement; told: string }> {
  const frame = (await make('iframe', { sandbox: 'allow-scripts' })) as HTMLIFrameElement;
  const told = new Promise<string>((resolve) => {
    const onMessage = ({ source, data }: MessageEvent<string>) => {
      if (source !== frame.contentWindow) return;
      removeEventListener('message', onMessage);
      resolve(data);
    };
    addEventListener('message', onMessage);
  });
  frame.srcdoc = `<!doctype html>${markup}<script>
    const element = document.body.firstElementChild;
    const tell = (text) => parent.postMessage(text, '*');
    element.addEventListener('rondevu-error', ({ detail }) => tell(detail.error.code + ': ' + detail.error.message));
    element.addEventListener('rondevu-state', ({ detail }) => detail.to === '${state}' && tell(detail.to));
    import('${elements}').catch((error) => tell(String(error)));
  </script>`;
  return { frame, told: await told };
}

describe('an element in a page without storage', () => {
  for (const identity of ['', 'identity="none"']) {
    it(`joins a service (${identity || 'with the default identity'})`, async () => {
      const username = freshName();
      const host = await service(username);
      await until(() => host.state === 'live');
      const markup = `<rondevu-connect api-url="${apiUrl}" to="chat:1.0.0@${username}" ${identity}></rondevu-connect>`;
      expect((await sandboxed(markup, 'connected')).told).to.equal('connected');
    });

    it(`hosts a service (${identity || 'with the default identity'})`, async () => {
      const username = freshName();
      const markup = `<rondevu-service api-url="${apiUrl}" username="${username}" service="chat:1.0.0" ${identity}></rondevu-service>`;
      expect((await sandboxed(markup, 'live')).told).to.equal('live');
      const joiner = await connect(`chat:1.0.0@${username}`, { username: freshName() });
      await until(() => joiner.state === 'connected');
    });
  }
});

describe('a database with the schema of a newer build', () => {
  it('does not prevent access to the stored key', async () => {
    const username = freshName();
    const first = await service(username);
    await until(() => first.state === 'live');
    const key = first.rondevu!.getPublicKey();
    await first.stop();
    first.remove();
    const raise = (version?: number) =>
      new Promise<number>((resolve, reject) => {
        const opening = indexedDB.open('rondevu', version);
        opening.onupgradeneeded = () => opening.result.createObjectStore(`later${version}`);
        opening.onerror = () => reject(opening.error!);
        opening.onsuccess = () => {
          resolve(opening.result.version);
          opening.result.close();
        };
      });
    await raise((await raise()) + 1);
    const second = await service(username);
    await until(() => second.state === 'live');
    expect(second.rondevu!.getPublicKey()).to.equal(key);
  });
});
