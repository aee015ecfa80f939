/**
 * Writes the parts of the documentation that are generated from the code: the limits in docs/security.md from the constants and
 * the server's settings, the tables in docs/elements.md from the manifest, and the layers and the state table in
 * docs/architecture.md and docs/delivery.md. Generated parts are between `<!-- begin NAME -->` and `<!-- end NAME -->`.
 */
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { LAYERS } from './layer-rules.mjs';
import { TABLE } from '../dist/src/connection/connection-state.js';

const cell = (text) =>
  String(text ?? '')
    .replaceAll('|', '\\|')
    .replaceAll('\n', ' ');
const table = (head, rows) =>
  [
    `| ${head.join(' | ')} |`,
    `|${head.map(() => '---').join('|')}|`,
    ...rows.map((row) => `| ${row.map(cell).join(' | ')} |`),
  ].join('\n');
const code = (text) => (text ? `\`${text}\`` : '');

function replacePart(file, name, content) {
  const text = readFileSync(file, 'utf8');
  const [begin, end] = [`<!-- begin ${name} -->`, `<!-- end ${name} -->`];
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < 0) throw new Error(`${file} has no section ${name}`);
  writeFileSync(file, `${text.slice(0, from + begin.length)}\n${content}\n${text.slice(to)}`);
}

const { modules } = JSON.parse(readFileSync('custom-elements.json', 'utf8'));
for (const element of modules.flatMap(({ declarations }) => declarations).filter(({ tagName }) => tagName)) {
  const state = (element.attributes ?? []).filter(({ description }) => /read-only/.test(description ?? ''));
  const input = (element.attributes ?? []).filter((attribute) => !state.includes(attribute));
  const properties = (element.members ?? []).filter(
    ({ kind, attribute, static: isStatic }) => kind === 'field' && !attribute && !isStatic,
  );
  const methods = (element.members ?? []).filter(
    ({ kind, inheritedFrom, static: isStatic }) => kind === 'method' && !inheritedFrom && !isStatic,
  );
  const parts = [
    `#### Attributes that you set\n\n${table(
      ['attribute', 'type', 'default', 'meaning'],
      input.map((a) => [code(a.name), code(a.type?.text), code(a.default), a.description]),
    )}`,
    `#### State attributes (read-only)\n\n${table(
      ['attribute', 'type', 'meaning'],
      state.map((a) => [code(a.name), code(a.type?.text), a.description]),
    )}`,
    `#### Properties without an attribute\n\n${table(
      ['property', 'type', 'meaning'],
      properties.map((p) => [code(p.name), code(p.type?.text), p.description]),
    )}`,
    `#### Methods\n\n${table(
      ['method', 'returns', 'meaning'],
      methods.map((m) => [
        code(
          `${m.name}(${(m.parameters ?? []).map(({ name, optional, default: standard }) => name + (optional || standard ? '?' : '')).join(', ')})`,
        ),
        code(m.return?.type?.text),
        m.description,
      ]),
    )}`,
    `#### Events\n\n${table(
      ['event', 'when, and detail'],
      (element.events ?? []).map((e) => [code(e.name), e.description]),
    )}`,
    element.slots?.length &&
      `#### Slots\n\n${table(
        ['slot', 'meaning'],
        element.slots.map((s) => [s.name ? code(s.name) : '(default)', s.description]),
      )}`,
    element.cssParts?.length &&
      `#### Parts\n\n${table(
        ['part', 'meaning'],
        element.cssParts.map((p) => [code(p.name), p.description]),
      )}`,
    element.cssProperties?.length &&
      `#### Custom properties\n\n${table(
        ['property', 'meaning'],
        element.cssProperties.map((p) => [code(p.name), p.description]),
      )}`,
    element.cssStates?.length &&
      `#### Custom states\n\n${table(
        ['state', 'meaning'],
        element.cssStates.map((s) => [code(`:state(${s.name})`), s.description]),
      )}`,
  ];
  replacePart('docs/elements.md', element.tagName, parts.filter(Boolean).join('\n\n'));
}

const events = [...new Set(Object.values(TABLE).flatMap((row) => Object.keys(row)))];
const rows = Object.entries(TABLE).map(([state, row]) => [
  code(state),
  ...events.map((event) => (row[event] ? `→ ${code(row[event][0])} ${row[event].slice(1).join(', ')}` : '')),
]);
for (const file of ['docs/architecture.md', 'docs/delivery.md'])
  replacePart(file, 'state-table', table(['state', ...events.map(code)], rows));

replacePart(
  'docs/architecture.md',
  'layers',
  table(
    ['layer', 'files', 'may import'],
    Object.entries(LAYERS).map(([layer, { files, may, also = [] }]) => [
      layer,
      files,
      [...may, ...also.map(code)].join(', ') || 'nothing',
    ]),
  ),
);

const abilities = Object.entries(JSON.parse(readFileSync('test/node-hosts/abilities.json', 'utf8')));
replacePart(
  'docs/hosting-in-node.md',
  'abilities',
  table(
    ['', ...abilities.map(([name]) => name)],
    Object.keys(abilities[0][1]).map((what) => [what, ...abilities.map(([, can]) => (can[what] ? 'yes' : 'no'))]),
  ),
);

const number = (value) => String(value).replace(/\B(?=(\d{3})+(?!\d))/g, '\u00a0');
const sentence = (comment) =>
  comment
    .replace(/^\s*\* ?/gm, '')
    .replace(/\s+/g, ' ')
    .trim();
const sources = (folder) =>
  readdirSync(folder, { recursive: true })
    .map((name) => `${folder}/${name}`)
    .filter((name) => name.endsWith('.ts') && !name.includes('/dist/'))
    .sort();

/** The documented numeric constants that a folder exports, with their values at run time. */
async function constantsOf(folder, built) {
  const found = [];
  for (const file of sources(folder)) {
    const matches = [
      ...readFileSync(file, 'utf8').matchAll(
        /\/\*\*((?:(?!\*\/)[^])*)\*\/\nexport const ([A-Z][A-Z_]+)(?:: number)? = [\d(A-Z]/g,
      ),
    ];
    if (!matches.length) continue;
    const module = await import(`../${file.replace(folder, built).replace(/ts$/, 'js')}`);
    for (const [, comment, name] of matches)
      if (typeof module[name] === 'number') found.push([code(name), number(module[name]), sentence(comment), code(file)]);
  }
  return found;
}

const { DEFAULT_LIMITS } = await import('../server/dist/limits.js');
const declared = readFileSync('server/src/limits.ts', 'utf8').match(/export interface Limits \{([^]*?)\n\}/)[1];
const settings = [...declared.matchAll(/(?:\/\*\*((?:(?!\*\/)[^])*)\*\/\s*)?(\w+): number;/g)].map(
  ([, comment, name], index, all) => [
    code(`LIMIT_${name.replace(/[A-Z]/g, '_$&').toUpperCase()}`),
    number(DEFAULT_LIMITS[name]),
    sentence(comment ?? all[index - 1][1]),
  ],
);
replacePart(
  'docs/security.md',
  'limits',
  [
    '### Server limits that the operator can set',
    table(['variable', 'default', 'meaning'], settings),
    '### Fixed server limits',
    table(['constant', 'value', 'meaning', 'where'], await constantsOf('server/src', 'server/dist')),
    '### Engine limits',
    table(['constant', 'value', 'meaning', 'where'], await constantsOf('src', 'dist/src')),
  ].join('\n\n'),
);
