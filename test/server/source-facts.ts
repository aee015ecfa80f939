/**
 * Extracts facts about the source that exist only at compile time: the fields of types, and the error codes that the code can
 * throw. The class `SourceFacts` uses the TypeScript type checker.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import type { Shape } from './document-tables.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Returns the TypeScript files in a folder and its subfolders. */
export const filesIn = (folder: string): string[] =>
  readdirSync(`${ROOT}${folder}`, { recursive: true, encoding: 'utf8' })
    .map((name) => `${folder}/${name}`)
    .filter((name) => name.endsWith('.ts') && !/\/(dist|node_modules)\//.test(name))
    .sort();

export const sourceOf = (file: string): string => readFileSync(ROOT + file, 'utf8');

export class SourceFacts {
  readonly #program: ts.Program;
  readonly #checker: ts.TypeChecker;
  readonly #codes: ReadonlySet<string>;
  /** Classes, keyed by the name of the interface that they implement. */
  readonly #implementations = new Map<string, ts.ClassDeclaration[]>();

  constructor() {
    const options: ts.CompilerOptions = {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      strict: true,
      skipLibCheck: true,
      useDefineForClassFields: false,
      lib: ['lib.es2024.d.ts'],
      types: [],
    };
    // packages and the DOM types are left out, because they take most of the time and contain no relevant facts
    const host = ts.createCompilerHost(options);
    host.resolveModuleNameLiterals = (names, from) =>
      names.map(({ text }) => {
        const [, part] = /^rondevu-elements\/(\w+)$/.exec(text) ?? [];
        const path = part ? `${ROOT}src/${part}/index.ts` : resolve(dirname(from), text.replace(/\.js$/, '.ts'));
        const isOwn = part !== undefined || text.startsWith('.');
        return { resolvedModule: isOwn ? { resolvedFileName: path, extension: ts.Extension.Ts } : undefined };
      });
    const files = ['src', 'server/src', 'components'].flatMap(filesIn).map((name) => ROOT + name);
    this.#program = ts.createProgram(files, options, host);
    this.#checker = this.#program.getTypeChecker();
    this.#codes = new Set(this.literals('src/errors.ts', 'ErrorCode'));
    for (const file of filesIn('server/src'))
      this.#file(file).forEachChild((node) => {
        if (!ts.isClassDeclaration(node)) return;
        for (const { types } of node.heritageClauses ?? [])
          for (const { expression } of types) {
            const name = expression.getText();
            this.#implementations.set(name, [...(this.#implementations.get(name) ?? []), node]);
          }
      });
  }

  /** Returns the members of a union of string literals. */
  literals(file: string, name: string): string[] {
    return this.#literalsOf(this.#typeOf(file, name));
  }

  /** Returns the property names of a type. */
  names(file: string, name: string): string[] {
    return this.#typeOf(file, name)
      .getProperties()
      .map((property) => property.name);
  }

  /**
   * Returns the fields of a type or of all members of a union. A field is optional if it is optional in, or missing from, any
   * member of the union.
   * @param path path to a nested type: property names or tuple indices
   */
  shape(file: string, name: string, ...path: string[]): Shape {
    let type = this.#typeOf(file, name);
    for (const step of path) {
      const property = type.getProperty(step);
      if (!property) throw new Error(`${name} has no ${step}`);
      type = this.#checker.getTypeOfSymbol(property);
    }
    return this.#shapeOf(type)!;
  }

  /** Returns the fields of each member of a union. */
  shapes(file: string, name: string): Shape[] {
    const type = this.#typeOf(file, name);
    return (type.isUnion() ? type.types : [type]).map((member) => this.#shapeOf(member)!);
  }

  /** Returns the error codes that a file uses in places where the type of an error code is expected. */
  codesIn(file: string): Set<string> {
    const found = new Set<string>();
    this.#visit(this.#file(file), (node) => this.#codesAt(node).forEach((code) => found.add(code)));
    return found;
  }

  /**
   * Returns the error codes used by a method of an object literal, and by all server functions that the method calls directly
   * or indirectly.
   * @param skip names of functions whose bodies are skipped
   */
  codesOfMethod(file: string, method: string, skip: ReadonlySet<string>): Set<string> {
    let body: ts.Node | undefined;
    this.#visit(this.#file(file), (node) => {
      if (ts.isMethodDeclaration(node) && ts.isObjectLiteralExpression(node.parent) && node.name.getText() === method)
        body ??= node;
    });
    if (!body) throw new Error(`${file} has no method ${method}`);
    const found = new Set<string>();
    const seen = new Set<ts.Node>();
    const follow = (start: ts.Node): void => {
      if (seen.has(start)) return;
      seen.add(start);
      this.#visit(start, (node) => {
        this.#codesAt(node).forEach((code) => found.add(code));
        if (ts.isCallExpression(node) || ts.isIdentifier(node)) this.#bodiesOf(node, skip).forEach(follow);
      });
    };
    follow(body);
    return found;
  }

  /** Returns the numeric literals from `from` to `to` in a file. */
  numbersIn(file: string, from: number, to: number): Set<number> {
    const found = new Set<number>();
    this.#visit(this.#file(file), (node) => {
      if (ts.isNumericLiteral(node) && Number(node.text) >= from && Number(node.text) <= to) found.add(Number(node.text));
    });
    return found;
  }

  /** Returns the strings passed to methods with the given name; for a template, the part before its first placeholder. */
  textsPassedTo(file: string, name: string): string[] {
    const found: string[] = [];
    this.#visit(this.#file(file), (node) => {
      if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression) || node.expression.name.text !== name)
        return;
      const [text] = node.arguments;
      if (text && ts.isStringLiteralLike(text)) found.push(text.text);
      if (text && ts.isTemplateExpression(text)) found.push(text.head.text);
    });
    return found;
  }

  #codesAt(node: ts.Node): string[] {
    if (!ts.isStringLiteralLike(node) || !this.#codes.has(node.text)) return [];
    const type = this.#checker.getContextualType(node);
    const expected = type ? this.#literalsOf(this.#checker.getNonNullableType(type)) : [];
    return expected.length > 1 && expected.every((each) => this.#codes.has(each)) ? [node.text] : [];
  }

  /** Returns the server functions that a call or a reference may run. */
  #bodiesOf(node: ts.CallExpression | ts.Identifier, skip: ReadonlySet<string>): ts.Node[] {
    const callee = ts.isCallExpression(node) ? node.expression : node;
    const name = ts.isPropertyAccessExpression(callee) ? callee.name : callee;
    if (skip.has(name.getText())) return [];
    let symbol = this.#checker.getSymbolAtLocation(name);
    if (symbol && symbol.flags & ts.SymbolFlags.Alias) symbol = this.#checker.getAliasedSymbol(symbol);
    return (symbol?.declarations ?? []).flatMap((declaration): ts.Node[] => {
      if (!declaration.getSourceFile().fileName.startsWith(`${ROOT}server/src/`)) return [];
      if (ts.isMethodSignature(declaration) && ts.isInterfaceDeclaration(declaration.parent)) {
        const classes = this.#implementations.get(declaration.parent.name.text) ?? [];
        return classes.flatMap(({ members }) => members.filter((member) => member.name?.getText() === name.getText()));
      }
      if (ts.isFunctionDeclaration(declaration) || ts.isMethodDeclaration(declaration)) return [declaration];
      return ts.isVariableDeclaration(declaration) && declaration.initializer ? [declaration.initializer] : [];
    });
  }

  #visit(node: ts.Node, see: (node: ts.Node) => void): void {
    see(node);
    node.forEachChild((child) => this.#visit(child, see));
  }

  #file(name: string): ts.SourceFile {
    const file = this.#program.getSourceFile(ROOT + name);
    if (!file) throw new Error(`no file ${name}`);
    return file;
  }

  #typeOf(file: string, name: string): ts.Type {
    const module = this.#checker.getSymbolAtLocation(this.#file(file))!;
    const symbol = this.#checker.getExportsOfModule(module).find((each) => each.name === name);
    if (!symbol) throw new Error(`${file} exports no ${name}`);
    return this.#checker.getDeclaredTypeOfSymbol(symbol);
  }

  #literalsOf(type: ts.Type): string[] {
    return (type.isUnion() ? type.types : [type]).flatMap((member) => (member.isStringLiteral() ? [member.value] : []));
  }

  /** Returns the fields of an object, or of the objects in a list; `undefined` for any other type. */
  #shapeOf(given: ts.Type): Shape | undefined {
    const type = given.isUnion() ? this.#checker.getNonNullableType(given) : given;
    const item = this.#checker.getIndexTypeOfType(type, ts.IndexKind.Number);
    if (item && this.#checker.isArrayLikeType(type)) return this.#shapeOf(item);
    const members = (type.isUnion() ? type.types : [type]).filter(
      ({ flags }) => flags & (ts.TypeFlags.Object | ts.TypeFlags.Intersection),
    );
    if (!members.length) return undefined;
    const shape: Shape = {};
    for (const property of members.flatMap((member) => member.getProperties())) {
      const all = members.map((member) => member.getProperty(property.name));
      const isOptional = all.some((each) => !each || (each.flags & ts.SymbolFlags.Optional) > 0);
      shape[property.name] = { isOptional, fields: this.#shapeOf(this.#checker.getTypeOfSymbol(property)) };
    }
    return shape;
  }
}
