// Bundles what tsc emitted. Rare parts (noble, publishing) become chunks beside the entry, loaded when needed.
import { nodeResolve } from '@rollup/plugin-node-resolve';
import terser from '@rollup/plugin-terser';
import { transform } from 'esbuild';

const compactCss = (css) =>
  css
    .replace(/\/\*[^]*?\*\//g, '')
    .replace(/\s*([{};,])\s*/g, '$1')
    .replace(/: +/g, ':')
    .replace(/;\}/g, '}')
    .replace(/([ :(,-])0\./g, '$1.')
    .trim();

/**
 * Takes comments and white space out of the templates of elements; in HTML a line break stays, so words stay apart. A style sheet
 * without values needs none of the checks of Lit's `css`, so it is given to `unsafeCSS`.
 */
const compactTemplates = {
  name: 'compact-templates',
  transform(code, id) {
    if (!/\/components\/[^/]+\.js$/.test(id) || id.includes('node_modules')) return null;
    const withoutValues = code
      .replace(/\bcss\s*`([^`$\\]*)`/g, (_, css) => `unsafeCSS(\`${compactCss(css)}\`)`)
      .replace(/^import \{ css\b/m, 'import { unsafeCSS');
    return { code: withoutValues.replace(/\n[ \t]+/g, '\n'), map: null };
  },
};

/**
 * A page may load the bundle as `rondevu-elements.js?ver=2`, as content management systems do. Whatever is imported within the bundle has
 * the same query: under another URL the page would get a second copy of every class. Without a query, other bundlers can still resolve the
 * import.
 */
const keepQuery = {
  name: 'keep-query',
  renderDynamicImport: ({ targetChunk }) =>
    targetChunk ? { left: `(query ? import('./${targetChunk.fileName}' + query) : import(`, right: '))' } : null,
  renderChunk(code) {
    const kept = code.replace(/^import (\{[^}]*\}) from '(\.\/[^']+)';/gm, (_, names, file) => {
      // live bindings end here: what is exported never changes after it was loaded
      return `const ${names.replaceAll(' as ', ': ')} = await (query ? import('${file}' + query) : import('${file}'));`;
    });
    // on the line that is there, for the source map
    return kept.includes('(query ?') ? { code: `const query = new URL(import.meta.url).search; ${kept}`, map: null } : null;
  },
};

/** Terser gives every private name of a file a name of its own; esbuild uses the same short ones again in each class. */
const shortPrivateNames = {
  name: 'short-private-names',
  renderChunk: (code) =>
    transform(code, { minify: true, sourcemap: true, format: 'esm', target: 'es2022', legalComments: 'inline' }),
};

/**
 * @param resolveOptions further options of the resolver
 * @param more plugins that change what is minified
 * @param compress further options of terser's compressor
 */
export const plugins = (resolveOptions = {}, more = [], compress = {}) => [
  nodeResolve({ browser: true, exportConditions: ['production', 'browser'], ...resolveOptions }),
  compactTemplates,
  ...more,
  terser({
    module: true,
    ecma: 2022,
    // without sequences, the compressed file is smaller
    compress: { passes: 3, ecma: 2022, keep_fargs: false, sequences: false, ...compress },
    mangle: { module: true },
    format: { comments: /^!/ },
  }),
];

// `sideEffects` of package.json names files in dist; a build in another folder would lose the modules that define the tags
export const bundlePlugins = () => [
  // without inlined functions, the compressed bundle is smaller
  ...plugins({ ignoreSideEffectsForRoot: true }, [keepQuery], { inline: 0, reduce_funcs: false }),
  shortPrivateNames,
];

/**
 * For `<script src>` without `type="module"`: imports the module beside it. The getter itself is called, because `<img name=currentScript>`
 * in what users wrote would take the place of `document.currentScript`.
 */
const CLASSIC = `import(
  new URL('rondevu-elements.js', Object.getOwnPropertyDescriptor(Document.prototype, 'currentScript').get.call(document).src).href
);
`;
const classicLoader = () => ({
  name: 'classic-loader',
  generateBundle() {
    this.emitFile({ type: 'asset', fileName: 'rondevu-classic.js', source: CLASSIC });
  },
});

/** In place of the same comment of each of Lit's modules. */
const LICENSE = '/*! rondevu-elements: MIT. Includes lit: Copyright Google LLC, SPDX-License-Identifier: BSD-3-Clause */';

/** The build bundles in a folder beside the old one. */
const dist = process.env.RONDEVU_DIST ?? 'dist';

export default {
  // what is loaded later takes from the entry what it needs; else the entry would be split in two
  preserveEntrySignatures: 'allow-extension',
  input: { 'rondevu-elements': `${dist}/components/bundle.js` },
  output: {
    dir: dist,
    format: 'es',
    entryFileNames: '[name].js',
    chunkFileNames: 'rondevu-[name].js',
    sourcemap: true,
    banner: ({ isEntry }) => (isEntry ? LICENSE : ''),
  },
  plugins: [...bundlePlugins(), classicLoader()],
};
