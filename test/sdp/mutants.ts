/**
 * Changed session descriptions, by a seed: everything that a lying server might try to show one parser a description and another
 * parser another one. Spellings, places, separators, lengths, repetitions, and single characters.
 */
import { Random } from '../support/random.js';

/** What a lying server wants a platform to read, and our parser not to see. */
export const EVIL = {
  fingerprint: `sha-256 ${Array.from({ length: 32 }, () => 'E1').join(':')}`,
  'ice-ufrag': 'eviL',
  'ice-pwd': 'evilevilevilevilevilevil',
  setup: 'passive',
  candidate: '1 1 udp 2122194687 192.0.2.66 6666 typ host',
};
type Attribute = keyof typeof EVIL;
const ATTRIBUTES = Object.keys(EVIL) as Attribute[];
const OTHERS = [
  'sctp-port',
  'max-message-size',
  'mid',
  'group',
  'ice-options',
  'ice-lite',
  'identity',
  'crypto',
  'tls-id',
  'x-rondevu',
];

/** Characters that one parser or another skips, folds, cuts at or takes for an end of line. */
const ODD = [
  ' ', '\t', ':', '=', '\r', '\n', '\r\n', '\n\r', '\0', '\v', '\f', '\b', '\x1c', '\x1f', '\x7f', '\x85', '\xa0', '\xad',
  '\u017f', '\u0130', '\u0131', '\u200b', '\u2028', '\u2029', '\u212a', '\ufeff', '\uff21', '%0d%0a', '\\r\\n', '"', "'", ';', ',', '/', '.', '-', '_', '+', '*',
]; // prettier-ignore

export class Mutants {
  readonly #random: Random;
  readonly #bases: readonly string[];

  /** @param bases descriptions as the platforms make them */
  constructor(seed: number, bases: readonly string[]) {
    this.#random = new Random(seed);
    this.#bases = bases;
  }

  next(): string {
    let lines = this.#pick(this.#bases).split('\r\n').slice(0, -1);
    if (this.#below(2)) return [...this.#subtly(lines), ''].join('\r\n');
    const changes = 1 + this.#below(3);
    for (let i = 0; i < changes; i++) lines = this.#changed(lines);
    const text = lines.join(this.#rarely() ? this.#pick(['\n', '\r', '\r\n\r\n', '\n\r']) : '\r\n');
    const ended = this.#rarely() ? text : `${text}\r\n`;
    return this.#rarely() ? this.#flipped(ended) : ended;
  }

  /** Changes that leave every line well-formed: it is their place, number, order or name that a parser may take otherwise. */
  #subtly(lines: string[]): string[] {
    const changes = 1 + this.#below(2);
    for (let i = 0; i < changes; i++) {
      const at = this.#below(lines.length + 1);
      const near = () => this.#nearly(this.#pick([...ATTRIBUTES, ...OTHERS])).toLowerCase();
      const pad = this.#pick(['x', '0', ' ', ':', ';']).repeat(this.#pick([1, 200, 256, 1000, 1024, 4000, 4096, 8000]));
      const from = this.#below(lines.length);
      switch (this.#below(8)) {
        case 0:
          lines = lines.toSpliced(at, 0, `a=${near()}:${this.#evilValue()}`);
          break;
        case 1:
          lines = lines.toSpliced(at, 0, `a=${this.#pick(ATTRIBUTES)}:${this.#evilValue()}`);
          break;
        case 2:
          lines = lines.toSpliced(at, 0, `${this.#pick(['a=x:', 'a=x', 'b=AS:', 'i=', 'c=IN IP4 ', 'k='])}${pad}${this.#evilLine()}`);
          break;
        case 3:
          lines = lines.toSpliced(at, 0, `${this.#pick([...'abcdefghijklmnopqrstuvwxyz'])}=${this.#pick(['', ' ', 'a=', pad])}${this.#evilLine()}`);
          break;
        case 4: {
          const [moved] = lines.splice(from, 1);
          lines = lines.toSpliced(this.#below(lines.length + 1), 0, moved!);
          break;
        }
        case 5:
          lines = lines.toSpliced(from, 1);
          break;
        case 6:
          lines = lines.toSpliced(at, 0, ...this.#section(lines));
          break;
        default:
          lines = lines.map((line) => line.replace(/(?<=^a=(?:setup|ice-ufrag|ice-pwd|mid|sctp-port|max-message-size):).*/, (value) =>
            this.#below(6) ? value : this.#pick([this.#evilValue(), '0', '65535', '65536', '99999', '4294967296', 'passive', 'active', 'eviL'])));
      } // prettier-ignore
    }
    return lines;
  }

  /** A candidate attribute, changed. */
  nextCandidate(): string {
    let text = `candidate:${this.#pick([EVIL.candidate, '0 1 UDP 2122187007 192.0.2.2 9 typ host tcptype active', '7 1 udp 1 fe80::1 9 typ srflx raddr 0.0.0.0 rport 0'])}`;
    const extra = () => `${this.#nearly(this.#pick(['ufrag', 'generation', 'raddr', 'tcptype']))} ${this.#pick(ODD)}${this.#evilLine()}`;
    for (let i = 0; i < this.#below(3); i++) {
      text = this.#pick([() => this.#flipped(text), () => `${text} ${extra()}`, () => `${text}${this.#pick(ODD)}${this.#evilLine()}`, () => `${text} x ${this.#below(99)}`])();
    }
    return text;
  } // prettier-ignore

  #changed(lines: string[]): string[] {
    const at = this.#below(lines.length + 1);
    const line = lines[Math.min(at, lines.length - 1)]!;
    switch (this.#below(12)) {
      case 0:
      case 1:
      case 2: // an evil line more
        return lines.toSpliced(at, 0, this.#evilLine());
      case 3: // an evil line instead of the right one
        return lines.map((each) => (each.startsWith('a=fingerprint:') ? this.#evilLine('fingerprint') : each));
      case 4: // the right line spelled otherwise
        return lines.map((each) => {
          const [, name, value] = /^a=([a-z-]+):(.*)$/.exec(each) ?? [];
          return name && this.#below(4) === 0 ? this.#spelled(name, value!) : each;
        });
      case 5: // lines that stand twice, elsewhere, or not at all
        return lines.toSpliced(this.#below(lines.length), this.#below(3), ...(this.#below(2) ? [line] : []));
      case 6: // an evil line behind an end of line that only some see
        return lines.toSpliced(Math.min(at, lines.length - 1), 1, `${line}${this.#pick(ODD)}${this.#evilLine()}`);
      case 7: // a section more
        return lines.toSpliced(at, 0, ...this.#section(lines));
      case 8: // a line so long that a buffer may cut it
        return lines.toSpliced(at, 0, this.#longLine());
      case 9: // an attribute that is well-formed and unknown, or nearly a known one
        return lines.toSpliced(at, 0, `a=${this.#nearly(this.#pick([...ATTRIBUTES, ...OTHERS]))}:${this.#evilValue()}`);
      case 10: // an evil attribute in well-formed places and spelling
        return lines.toSpliced(at, 0, `a=${this.#pick(ATTRIBUTES)}:${this.#evilValue()}`);
      default:
        return lines.toSpliced(Math.min(at, lines.length - 1), 1, this.#flipped(line));
    }
  }

  #evilLine(attribute: Attribute = this.#pick(ATTRIBUTES)): string {
    return this.#spelled(attribute, EVIL[attribute]);
  }

  #evilValue(): string {
    return this.#pick(Object.values(EVIL));
  }

  /** An attribute line with its type, name, colon or value spelled in another way. */
  #spelled(name: string, value: string): string {
    let type = 'a=';
    let colon = ':';
    const odd = () => this.#pick(ODD);
    for (let i = 0; i <= this.#below(2); i++) {
      switch (this.#below(12)) {
        case 0:
          name = name.toUpperCase();
          break;
        case 1:
          name = [...name].map((letter) => (this.#below(2) ? letter.toUpperCase() : letter)).join('');
          break;
        case 2:
          name = odd() + name;
          break;
        case 3:
          name += odd();
          break;
        case 4:
          name = this.#nearly(name);
          break;
        case 5:
          type = this.#pick(['A=', ' a=', 'a =', 'a= ', 'a:', 'a==', 'aa=', 'a', '=', 'b=', 'k=', 'c=', 'i=', 'x=', '\ufeffa=']);
          break;
        case 6:
          colon = this.#pick([' :', ': ', '::', ' ', '', '=', ':\t', '\t:', ';', ':\0']);
          break;
        case 7:
          value = odd() + value;
          break;
        case 8:
          value += odd();
          break;
        case 9:
          value = this.#pick([value.toLowerCase(), value.toUpperCase(), `${value} ${value}`, `${value},${value}`, `"${value}"`]);
          break;
        case 10:
          value = value.replace(' ', this.#pick(['  ', '\t', '\0 ', ' \0', ':', '']));
          break;
        default:
          value = value.replace('sha-256', this.#pick(['SHA-256', 'sha256', 'sha-1', 'sha-512', 'sha-2560', 'md5', ' sha-256']));
      }
    }
    return `${type}${name}${colon}${value}`;
  }

  #nearly(name: string): string {
    const letter = 'abcdefghijklmnopqrstuvwxyz0123456789-'[this.#below(37)]!;
    const at = this.#below(name.length + 1);
    return this.#pick([
      name + letter,
      letter + name,
      name.slice(0, -1),
      name.slice(1),
      name.slice(0, at) + letter + name.slice(at),
      name.replace('-', ''),
      `x-${name}`,
      `${name}-${name}`,
      `${name}:${name}`,
    ]);
  }

  #section(lines: string[]): string[] {
    const own = lines.slice(lines.findIndex((line) => line.startsWith('m=')));
    const first = this.#pick([
      'm=application 9 UDP/DTLS/SCTP webrtc-datachannel', 'm=application 0 UDP/DTLS/SCTP webrtc-datachannel',
      'm=audio 9 UDP/TLS/RTP/SAVPF 111', 'm=video 9 UDP/TLS/RTP/SAVPF 96', 'm=audio 0 RTP/AVP 0', 'm=text 9 UDP/TLS/RTP/SAVPF 98',
      'M=audio 9 UDP/TLS/RTP/SAVPF 111', 'm =audio 9 UDP/TLS/RTP/SAVPF 111', ' m=audio 9 UDP/TLS/RTP/SAVPF 111',
      'm= audio 9 UDP/TLS/RTP/SAVPF 111', 'm=AUDIO 9 UDP/TLS/RTP/SAVPF 111', 'm=audio\t9 UDP/TLS/RTP/SAVPF 111', 'v=0',
    ]); // prettier-ignore
    return [first, ...(this.#below(2) ? own.slice(1) : [this.#evilLine(), 'a=mid:1'])];
  }

  #longLine(): string {
    const length = this.#pick([255, 256, 257, 511, 512, 1023, 1024, 2047, 2048, 4095, 4096, 8191, 8192, 8193, 65_535]);
    const pad = this.#pick([' ', 'x', '0', '-', ':']).repeat(length);
    return this.#pick([
      `a=${pad}${this.#evilLine()}`,
      `a=x-long:${pad}${this.#evilLine()}`,
      `a=fingerprint:${pad}${EVIL.fingerprint}`,
      `a=fingerprint${pad}:${EVIL.fingerprint}`,
      `b=AS:${pad}`,
      `s=${pad}`,
    ]);
  }

  #flipped(text: string): string {
    const at = this.#below(text.length + 1);
    const put = this.#below(2) ? this.#pick(ODD) : String.fromCharCode(this.#below(256));
    return text.slice(0, at) + (this.#below(4) ? put : '') + text.slice(at + this.#below(2));
  }

  #below(limit: number): number {
    return Math.floor(this.#random.next() * limit);
  }

  #rarely(): boolean {
    return this.#below(40) === 0;
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.#below(items.length)]!;
  }
}
