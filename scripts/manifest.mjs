/**
 * Writes custom-elements.json from the JSDoc of the elements and the event types in components/events.ts, without members that
 * users cannot use.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import ts from 'typescript';
import { run } from './run.mjs';

/** The events of each element, by class name: the members of its `…EventDetails` interface. */
function eventsByClass() {
  const text = readFileSync('components/events.ts', 'utf8');
  const source = ts.createSourceFile('events.ts', text, ts.ScriptTarget.Latest, true);
  const events = new Map();
  for (const node of source.statements.filter(ts.isInterfaceDeclaration)) {
    const [, className] = /^(\w+)EventDetails$/.exec(node.name.text) ?? [];
    if (!className) continue;
    const list = node.members.map((member) => ({
      name: member.name.text,
      type: { text: `CustomEvent<${member.type.getText(source)}>` },
      description: ts
        .getJSDocCommentsAndTags(member)
        .map(({ comment }) => ts.getTextOfJSDocComment(comment))
        .join(' ')
        .replace(/\s+/g, ' '),
    }));
    const bare = list.find(({ description }) => !description);
    if (bare) throw new Error(`components/events.ts: ${className}: ${bare.name} has no description`);
    events.set(className, list);
  }
  return events;
}

/** The path of a source file in the published package. */
const published = (path) => path.replace(/^\/?components\/(.*)\.ts$/, 'dist/components/$1.js');

run('cem', ['analyze', '--config', 'custom-elements-manifest.config.mjs', '--quiet'], { stdio: ['ignore', 'ignore', 'inherit'] });
const manifest = JSON.parse(readFileSync('custom-elements.json', 'utf8'), (key, value) =>
  key === 'path' || key === 'module' ? published(value) : value,
);
const isPublic = ({ privacy, name }) =>
  !/^(private|protected)$/.test(privacy ?? '') &&
  !/^#|^(connected|disconnected|willUpdate|updated|render$|(add|remove)EventListener$)/.test(name);
const events = eventsByClass();
for (const { declarations } of manifest.modules) {
  for (const declaration of declarations) {
    declaration.members = declaration.members?.filter(isPublic);
    for (const member of declaration.members ?? []) delete member.privacy; // all are public
    delete declaration.events;
    if (events.has(declaration.name)) declaration.events = events.get(declaration.name);
  }
}
writeFileSync('custom-elements.json', `${JSON.stringify(manifest, null, 2)}\n`);
