/**
 * Compiles the code in the documentation under `strict` against the published types: as a module in a page, and in a Node
 * program with and without the DOM library. Attributes in markup are checked against `custom-elements.json`. The tests require
 * a build.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { before, test } from 'node:test';
import ts from 'typescript';
import { DOCUMENTS, snippetsOf, type Snippet } from '../support/snippets.js';

/** Code block in a document, identified by a part of its code. */
interface Block {
  document: string;
  part: string;
}

/** Types of names that a block uses without declaring them, because the preceding text or an earlier block introduces them. */
const PRELUDES: (Block & { names: Record<string, string> })[] = [
  {
    document: 'README.md',
    part: `connection.createChannel('files')`,
    names: { connection: `import('rondevu-elements/core').AnswererConnection` },
  },
  { document: 'docs/security.md', part: 'exportIdentity(', names: { passphrase: 'string' } },
];

/** Code blocks that are excluded from compilation. */
const NOT_COMPILED: (Block & { reason: string })[] = [
  { document: 'docs/migrating.md', part: `from 'simple-peer'`, reason: 'simple-peer publishes no types' },
];

/** Languages without types. A code fence without a language contains plain text. */
const OTHER_LANGUAGES = ['', 'json', 'mermaid', 'sh', 'text'];
const WITH_DOM = ['lib.es2022.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'];
const ENVIRONMENTS = {
  'a page': { lib: WITH_DOM, types: [] },
  'Node with the DOM library': { lib: WITH_DOM, types: ['node'] },
  'Node without the DOM library': { lib: ['lib.es2022.d.ts'], types: ['node'] },
};
type Environment = keyof typeof ENVIRONMENTS;

interface Module {
  at: string;
  document: string;
  environments: Environment[];
  /** Virtual file next to the document, so that imports resolve as in a file of the same package. */
  fileName: string;
  /** Code of the snippet, padded so that lines and columns match the document. */
  code: string;
  /** Declarations that are appended to the code for the compiler. */
  declarations: string;
  isJavaScript: boolean;
  names: string[];
}

function environmentsOf(document: string, { language, code }: Snippet): Environment[] {
  // documents.test.ts runs docs/migrating.md in pages
  if (language === 'html' || document === 'docs/migrating.md') return ['a page'];
  if (/from '(?:rondevu-elements\/node|rondevu-server|node:\w+)'/.test(code))
    return ['Node with the DOM library', 'Node without the DOM library'];
  return ['a page', 'Node without the DOM library'];
}

/** Returns the inline scripts of a page, each with the preceding text replaced by spaces. */
const scriptsOf = (html: string): string[] =>
  [...html.matchAll(/(<script\b[^>]*>)([^]*?)<\/script>/g)]
    .filter(([, tag, script]) => !/ type="(?!module")/.test(tag!) && script!.trim())
    .map(({ index, 1: tag, 2: script }) => html.slice(0, index + tag!.length).replace(/[^\n]/g, ' ') + script!);

/** Returns declarations of `querySelector` for the elements in the markup of the page. */
function elementsOf(html: string): string {
  const tags = [...new Set(html.match(/(?<=<)rondevu-[a-z]+/g))];
  return `import 'rondevu-elements';
    declare const document: {
      ${tags.map((tag) => `querySelector(tag: '${tag}'): HTMLElementTagNameMap['${tag}'];`).join('\n')}
    } & Document;`;
}

const usedBlocks = new Set<Block>();
function find<T extends Block>(blocks: T[], document: string, code: string): T | undefined {
  const found = blocks.find((block) => block.document === document && code.includes(block.part));
  if (found) usedBlocks.add(found);
  return found;
}

function modulesOf(document: string): Module[] {
  return snippetsOf(document).flatMap((snippet) => {
    const { at, language, code, line } = snippet;
    if (OTHER_LANGUAGES.includes(language) || find(NOT_COMPILED, document, code)) return [];
    const isPage = language === 'html';
    assert.ok(
      isPage || /^m?[jt]s$/.test(language),
      `${at}: a block in "${language}" is neither compiled nor listed with a reason`,
    );
    const { names = {} } = find(PRELUDES, document, code) ?? {};
    const prelude = Object.entries(names).map(([name, type]) => `declare const ${name}: ${type};`);
    return (isPage ? scriptsOf(code) : [code]).map((script, index) => ({
      at,
      document,
      environments: environmentsOf(document, snippet),
      fileName: resolve(`${document}-${line}-${index}.mts`),
      code: '\n'.repeat(line - 1) + script,
      declarations: [isPage ? elementsOf(code) : '', ...prelude].join('\n'),
      isJavaScript: !language.endsWith('ts'),
      names: Object.keys(names),
    }));
  });
}

const modules = DOCUMENTS.flatMap(modulesOf);

/** Cache of parsed library files, shared by all environments. */
const parsed = new Map<string, ts.SourceFile | undefined>();

function programOf(environment: Environment): ts.Program {
  const options: ts.CompilerOptions = {
    ...ENVIRONMENTS[environment],
    strict: true,
    noEmit: true,
    allowJs: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    moduleDetection: ts.ModuleDetectionKind.Force,
    // code that imports the Rondevu client is compiled against the engine, which has the same exports
    paths: { '@xtr-dev/rondevu-client': [resolve('dist/src/core.d.ts')] },
  };
  const texts = new Map<string, string>();
  for (const { fileName, code, declarations, isJavaScript, environments } of modules) {
    if (!environments.includes(environment)) continue;
    texts.set(fileName, `${code}\n;${declarations}`);
    if (isJavaScript) texts.set(inJavaScript(fileName), code);
  }
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists, readFile } = host;
  host.fileExists = (name) => texts.has(name) || fileExists(name);
  host.readFile = (name) => texts.get(name) ?? readFile(name);
  host.getSourceFile = (name, ...others) => {
    const text = texts.get(name);
    if (text !== undefined) return ts.createSourceFile(name, text, others[0], true);
    if (!parsed.has(name)) parsed.set(name, getSourceFile(name, ...others));
    return parsed.get(name);
  };
  return ts.createProgram([...texts.keys()], options, host);
}

/** Name of a JavaScript copy of the file, in which TypeScript syntax is an error. */
const inJavaScript = (fileName: string): string => fileName.replace(/\.mts$/, '.js.mjs');

/** `README.md:43:5 TS2339: …` */
function print(document: string, { file, start, code, messageText }: ts.Diagnostic): string {
  const { line, character } = file!.getLineAndCharacterOfPosition(start!);
  return `${document}:${line + 1}:${character + 1} TS${code}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
}

/** Returns the names from the prelude that the code of a module uses. */
function namesUsed(program: ts.Program, { fileName, code }: Module): Set<string> {
  const names = new Set<string>();
  const checker = program.getTypeChecker();
  const visit = (node: ts.Node): void => {
    if (node.pos >= code.length) return;
    const declaration = ts.isIdentifier(node) ? checker.getSymbolAtLocation(node)?.valueDeclaration : undefined;
    if (declaration?.getSourceFile().fileName === fileName && declaration.pos > code.length) names.add(node.getText());
    ts.forEachChild(node, visit);
  };
  visit(program.getSourceFile(fileName)!);
  return names;
}

/** Returns the compilation errors of all modules for an environment. */
function problemsIn(environment: Environment): string[] {
  const program = programOf(environment);
  assert.ok(program.getSourceFile(resolve('dist/src/core.d.ts')), 'the types are the published ones');
  const problems = program.getOptionsDiagnostics().map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
  for (const module of modules.filter(({ environments }) => environments.includes(environment))) {
    const { at, document, fileName, names, isJavaScript } = module;
    const diagnostics = [...ts.getPreEmitDiagnostics(program, program.getSourceFile(fileName))];
    if (isJavaScript) diagnostics.push(...program.getSyntacticDiagnostics(program.getSourceFile(inJavaScript(fileName))));
    problems.push(...diagnostics.map((diagnostic) => print(document, diagnostic)));
    const used = namesUsed(program, module);
    problems.push(...names.filter((name) => !used.has(name)).map((name) => `${at}: does not use ${name} of its prelude`));
  }
  return problems;
}

const environments = Object.keys(ENVIRONMENTS) as Environment[];
const problems = new Map<Environment, string[]>();
before(() => {
  for (const environment of environments) problems.set(environment, problemsIn(environment));
});

for (const environment of environments)
  test(`the code in the documentation compiles for ${environment}`, () => assert.deepEqual(problems.get(environment), []));

test('every listed exception is still needed by the documentation', () => {
  assert.deepEqual(
    [...PRELUDES, ...NOT_COMPILED].filter((block) => !usedBlocks.has(block)),
    [],
  );
});

interface Manifest {
  modules: { declarations: { tagName?: string; attributes?: { name: string; description?: string }[] }[] }[];
}

test('the markup in the documentation uses only known elements and writable attributes', () => {
  const { modules: files } = JSON.parse(readFileSync('custom-elements.json', 'utf8')) as Manifest;
  const known = new Map(
    files
      .flatMap(({ declarations }) => declarations)
      .map(({ tagName, attributes = [] }) => [
        tagName,
        attributes.filter(({ description = '' }) => !description.includes('read-only')).map(({ name }) => name),
      ]),
  );
  const wrong: string[] = [];
  for (const { at, language, code } of DOCUMENTS.flatMap(snippetsOf)) {
    if (language !== 'html') continue;
    for (const [, tag = '', attributes = ''] of code.matchAll(/<([a-z][\w-]*)((?:"[^"]*"|[^">])*)>/g)) {
      const isElement = tag.startsWith('rondevu-');
      if (isElement && !known.has(tag)) wrong.push(`${at}: <${tag}>`);
      for (const [name] of attributes.replace(/"[^"]*"/g, '').matchAll(/[\w-]+/g))
        if (name.startsWith('on') || (isElement && !known.get(tag)?.includes(name))) wrong.push(`${at}: <${tag} ${name}>`);
    }
  }
  assert.deepEqual(wrong, []);
});
