/** Every documented option is read by the code, and every documented event is emitted. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import ts from 'typescript';

/** Interfaces that declare options, keyed by file. */
const OPTIONS: Record<string, string[]> = {
  'src/options.ts': ['RondevuOptions', 'PublishOptions', 'OfferFactoryResult', 'ConnectOptions', 'FindOptions'],
  'src/connection/connection-config.ts': ['ConnectionConfig'],
  'src/connection/connection-events.ts': ['CloseOptions'],
  'src/connection/channel.ts': ['ChannelConfig'],
  'src/diagnosis/diagnosis.ts': ['DiagnoseOptions'],
  'src/signaling/rpc-batcher.ts': ['BatchingOptions'],
  'src/node/connect.ts': ['NodeOptions'],
  'src/node/shutdown.ts': ['ShutdownOptions'],
};
/**
 * Lower-layer interfaces to which a whole options object is passed. Reading a member of such an interface counts as reading the
 * option with the same name.
 */
const PASSED_TO: Record<string, [file: string, name: string][]> = {
  ConnectionConfig: [
    ['src/signaling/signaling-port.ts', 'PollingOptions'],
    ['src/delivery/session.ts', 'SessionLimits'],
    ['src/connection/channel.ts', 'ChannelConfig'],
  ],
};
/** Interfaces whose members are events, keyed by file. */
const EVENTS: Record<string, string[]> = {
  'src/rondevu.ts': ['RondevuEvents'],
  'src/connection/connection-events.ts': ['ConnectionEvents'],
  'src/connection/channel.ts': ['ChannelEvents'],
  'src/offers/offer-pool-options.ts': ['OfferPoolEvents'],
  'components/events.ts': ['RondevuServiceEventDetails', 'RondevuConnectEventDetails', 'RondevuChatEventDetails'],
};

const { options } = ts.parseJsonConfigFileContent(
  { ...ts.readConfigFile('tsconfig.json', (file) => readFileSync(file, 'utf8')).config, extends: undefined },
  ts.sys,
  process.cwd(),
);
const files = ts.sys.readDirectory('.', ['.ts'], undefined, ['src/**/*.ts', 'components/**/*.ts']).map((file) => resolve(file));
const service = ts.createLanguageService({
  getCompilationSettings: () => ({
    ...options,
    strict: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    skipLibCheck: true,
    types: ['node'],
    noEmit: true,
  }),
  getScriptFileNames: () => files,
  getScriptVersion: () => '0',
  getScriptSnapshot: (file) => (ts.sys.fileExists(file) ? ts.ScriptSnapshot.fromString(readFileSync(file, 'utf8')) : undefined),
  getCurrentDirectory: () => process.cwd(),
  getDefaultLibFileName: ts.getDefaultLibFilePath,
  fileExists: ts.sys.fileExists,
  readFile: ts.sys.readFile,
  readDirectory: ts.sys.readDirectory,
  directoryExists: ts.sys.directoryExists,
  getDirectories: ts.sys.getDirectories,
});
const program = service.getProgram()!;

/** Returns the members that an interface in the given file declares. */
function membersOf(file: string, name: string): { name: string; node: ts.Node }[] {
  const source = program.getSourceFile(resolve(file));
  const declaration = source?.statements.find((each) => ts.isInterfaceDeclaration(each) && each.name.text === name);
  assert.ok(declaration && ts.isInterfaceDeclaration(declaration), `${file} declares ${name}`);
  const members = declaration.members.flatMap((each) =>
    each.name && (ts.isIdentifier(each.name) || ts.isStringLiteral(each.name)) ? [{ name: each.name.text, node: each.name }] : [],
  );
  assert.ok(members.length, `${name} has members`);
  return members;
}

const nodeAt = (source: ts.SourceFile, position: number): ts.Node => {
  let found: ts.Node = source;
  const visit = (node: ts.Node): void => {
    if (node.getStart(source) <= position && position < node.getEnd()) {
      found = node;
      ts.forEachChild(node, visit);
    }
  };
  ts.forEachChild(source, visit);
  return found;
};

/** Whether a reference to a property reads the value, as opposed to declaring or assigning the property. */
function isRead(node: ts.Node): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent) && parent.name === node) {
    const { parent: outer } = parent;
    return !(ts.isBinaryExpression(outer) && outer.left === parent && outer.operatorToken.kind === ts.SyntaxKind.EqualsToken);
  }
  return ts.isBindingElement(parent);
}

/** Whether any code reads the property declared at the given node. */
function hasReads(file: string, { node }: { node: ts.Node }): boolean {
  const found = service.findReferences(resolve(file), node.getStart()) ?? [];
  return found
    .flatMap(({ references }) => references)
    .some(({ fileName, textSpan }) => {
      const source = program.getSourceFile(fileName);
      return source && !source.isDeclarationFile && isRead(nodeAt(source, textSpan.start));
    });
}

/** Returns the options that no code reads. */
function unreadOptions(): string[] {
  return Object.entries(OPTIONS).flatMap(([file, names]) =>
    names.flatMap((name) => {
      const passedOn = (PASSED_TO[name] ?? []).flatMap(([to, lower]) =>
        membersOf(to, lower).filter((each) => hasReads(to, each)),
      );
      return membersOf(file, name)
        .filter((each) => !hasReads(file, each) && !passedOn.some((lower) => lower.name === each.name))
        .map((each) => `${name}.${each.name}`);
    }),
  );
}

/**
 * String literals in expressions, which include the names of all events that the code can emit. Literals in types are excluded.
 */
const spoken = new Set<string>();
for (const file of files) {
  const visit = (node: ts.Node): void => {
    if (ts.isTypeNode(node) || ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node)) return;
    if (ts.isStringLiteralLike(node) && isSpoken(node)) spoken.add(node.text);
    ts.forEachChild(node, visit);
  };
  visit(program.getSourceFile(file)!);
}

/** Whether a string literal may be the name of an emitted event; arguments of listener methods are excluded. */
function isSpoken(node: ts.StringLiteralLike): boolean {
  const { parent } = node;
  if (!ts.isCallExpression(parent)) return true;
  const called = ts.isPropertyAccessExpression(parent.expression) ? parent.expression.name.text : '';
  return !/^(on|once|off|addEventListener|removeEventListener|listenerCount)$/.test(called);
}

test('every documented option is read by the code', () => assert.deepEqual(unreadOptions(), []));

test('every documented event is emitted by the code', () => {
  const silent = Object.entries(EVENTS).flatMap(([file, names]) =>
    names.flatMap((name) =>
      membersOf(file, name).flatMap((member) => (spoken.has(member.name) ? [] : [`${name}: ${member.name}`])),
    ),
  );
  assert.deepEqual(silent, []);
});
