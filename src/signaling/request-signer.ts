/**
 * Signs calls in the v2 form and tracks the offset of the server's clock. Independent of the transport.
 */
import { bytesToBase64Url, randomId } from '../base/bytes.js';
import { sha256, signText, signerFromKeypair, type CryptoAdapter, type Keypair, type Signer } from '../identity/index.js';
import { audience, digestInput, v2Message } from '../protocol/message.js';
import type { RpcRequest } from '../protocol/rpc.js';

/** How far the server's clock may be ahead of the local clock, in ms. */
const MAX_AHEAD = 86_400_000;

export class RequestSigner {
  readonly username: string;
  /** Audience: scheme, host, port and path to which signatures are bound. */
  readonly aud: string;
  readonly #signer: Promise<Signer>;
  /** Server time minus local time, in ms. */
  #clockOffset = 0;

  constructor(baseUrl: string, username: string, identity: Keypair | Signer, adapter?: CryptoAdapter) {
    this.aud = audience(baseUrl);
    this.username = username;
    this.#signer = 'sign' in identity ? Promise.resolve(identity) : signerFromKeypair(identity, adapter);
    this.#signer.catch(() => undefined); // a failure is reported by the first call that needs the signer
  }

  /** Returns a signed call, ready to be sent; a retry must be signed again, because a nonce is valid only once. */
  async sign(method: string, params: unknown): Promise<RpcRequest> {
    const signer = await this.#signer;
    const digest = bytesToBase64Url(await sha256(digestInput(this.aud, method, params)));
    const nonce = randomId(16);
    const message = v2Message(method, this.username, nonce, digest, this.serverNow());
    return { method, message, signature: await signText(signer, message), publicKey: signer.publicKey, params };
  }

  /** Returns the estimated time of the server, in ms. */
  serverNow(): number {
    // eslint-disable-next-line no-restricted-syntax -- compared with the clock of the server
    return Date.now() + this.#clockOffset;
  }

  /**
   * Adopts the server's clock, unless it is more than a day ahead of the local clock: a malicious server could otherwise store
   * requests signed for a future time and replay them at that time.
   * @param serverTime time in ms
   * @returns whether the time was adopted
   */
  setServerTime(serverTime: number): boolean {
    // eslint-disable-next-line no-restricted-syntax -- compared with the clock of the server
    const offset = serverTime - Date.now();
    if (!(offset <= MAX_AHEAD)) return false;
    this.#clockOffset = offset;
    return true;
  }
}
