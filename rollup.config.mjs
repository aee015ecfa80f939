// Bundles what tsc emitted. Rare parts (noble) become chunks beside the entry, loaded when needed.
import { nodeResolve } from '@rollup/plugin-node-resolve';
import terser from '@rollup/plugin-terser';

/** @param resolveOptions further options of the resolver */
export const plugins = (resolveOptions = {}) => [
  nodeResolve({ browser: true, exportConditions: ['production', 'browser'], ...resolveOptions }),
  terser({ module: true, ecma: 2022, compress: { passes: 3, ecma: 2022 }, mangle: { module: true } }),
];

/** For `<script src>` without `type="module"`: imports the module beside it. */
const CLASSIC = `import(new URL('rondevu-elements.js', document.currentScript.src).href);\n`;
const classicLoader = () => ({
  name: 'classic-loader',
  generateBundle() {
    this.emitFile({ type: 'asset', fileName: 'rondevu-classic.js', source: CLASSIC });
  },
});

/** The build bundles in a folder beside the old one. */
const dist = process.env.RONDEVU_DIST ?? 'dist';

export default {
  // what is loaded later takes from the entry what it needs; else the entry would be split in two
  preserveEntrySignatures: 'allow-extension',
  input: { 'rondevu-elements': `${dist}/components/index.js` },
  output: {
    dir: dist,
    format: 'es',
    entryFileNames: '[name].js',
    chunkFileNames: 'rondevu-[name].js',
    sourcemap: true,
  },
  // `sideEffects` of package.json names files in dist; a build in another folder would lose the modules that define the tags
  plugins: [...plugins({ ignoreSideEffectsForRoot: true }), classicLoader()],
};
