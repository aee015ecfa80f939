// Import rules between layers, checked by scripts/layers.mjs and listed in docs/architecture.md.

/** The layer of each folder or file; the first match applies. `null` means that the layer is named after the folder. */
export const LAYER_OF = [
  [/^src\/errors\.ts$/, 'base'],
  [/^src\/signaling\/signaling-port\.ts$/, 'signaling-port'],
  [/^src\/(base|protocol|identity|signaling|delivery|connection|offers|legacy)\//, null],
  [/^src\/(options|ice-servers)\.ts$/, 'options'],
  [/^src\/(node|cli)\//, null],
  [/^src\//, 'facade'],
  [/^components\//, 'components'],
  [/^server\/src\//, 'server'],
];

/**
 * For each layer: its files, the layers that it may import besides itself, single files that it may import from other layers,
 * and the npm packages that it may import. The rules also apply to type imports.
 */
export const LAYERS = {
  base: { files: '`src/base/`, `src/errors.ts`', may: [] },
  protocol: { files: '`src/protocol/`', may: ['base'] },
  identity: { files: '`src/identity/`', may: ['base', 'protocol'], packages: /^@noble\// },
  'signaling-port': { files: '`src/signaling/signaling-port.ts`', may: ['base', 'protocol'] },
  signaling: { files: '`src/signaling/`', may: ['base', 'protocol', 'identity', 'signaling-port'] },
  delivery: { files: '`src/delivery/`', may: ['base', 'protocol'] },
  connection: { files: '`src/connection/`', may: ['base', 'protocol', 'identity', 'delivery', 'signaling-port'] },
  options: { files: '`src/options.ts`, `src/ice-servers.ts`', may: ['base', 'connection', 'identity', 'signaling'] },
  offers: { files: '`src/offers/`', may: ['base', 'protocol', 'identity', 'connection', 'signaling-port', 'options'] },
  legacy: {
    files: '`src/legacy/`',
    may: ['base', 'protocol', 'identity', 'signaling', 'delivery', 'connection', 'options', 'offers'],
  },
  facade: {
    files: 'other files in `src/`, `src/diagnosis/`',
    may: ['base', 'protocol', 'identity', 'signaling', 'delivery', 'connection', 'options', 'offers', 'legacy'],
  },
  node: { files: '`src/node/`', may: ['facade', 'options', 'base', 'protocol', 'identity'], packages: /^(node:|ws$)/ },
  cli: { files: '`src/cli/`', may: ['node', 'base', 'protocol', 'identity'], packages: /^(node:|ws$)/ },
  components: {
    files: '`components/`',
    may: [],
    // the public entry points, and modules that the chat, the queue of early messages and the bundle share with the engine
    also: [
      'src/index.ts',
      'src/identity/index.ts',
      'src/offers/index.ts',
      'src/protocol/chat.ts',
      'src/early-messages.ts',
      'src/base/chunk.ts',
      'src/core.ts',
      'src/link-runtime.ts',
    ],
    packages: /^lit(\/|$)/,
  },
  server: {
    files: '`server/src/`',
    may: [],
    packages:
      /^(rondevu-elements\/(protocol|identity)|node:|hono|@hono\/|ws$|valibot$|libsql$|pino$|prom-client$|rate-limiter-flexible$|@redis\/client$)/,
  },
};
