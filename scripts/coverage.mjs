/**
 * `npm run coverage`: measures which lines and branches of the pure layers are covered by tests that call them directly. Pure
 * layers use neither sockets nor WebRTC. Prints a table with one row per file. Needs no build.
 */
import { tryRun } from './run.mjs';

/** Files of the pure layers. */
const FILES = [
  'src/errors.ts',
  'src/base/*.ts',
  'src/protocol/*.ts',
  'src/delivery/*.ts',
  'src/connection/connection-state.ts',
  'src/offers/answer-router.ts',
  'src/offers/directed-offers.ts',
];
/** Files that contain only types. */
const TYPES = ['src/base/webrtc-types.ts', 'src/base/writable.ts'];
/** Tests that start neither a browser nor a server process, except the long mutation and fuzz tests. */
const TESTS = [
  ...[
    ...['answer-router', 'base', 'chat', 'connection-state', 'control-channel', 'handshake-proof', 'join-attempt'],
    ...['message-buffer', 'offer-search', 'options', 'printable', 'protocol', 'rpc-batcher'],
  ].map((name) => `test/engine/${name}.test.ts`),
  ...['endpoint', 'losses', 'session'].map((name) => `test/delivery/${name}.test.ts`),
];

process.exit(
  tryRun(
    'c8',
    [
      ...['--all', '--src', '.', '--extension', '.ts', '--reporter', 'text'],
      ...FILES.flatMap((file) => ['--include', file]),
      ...TYPES.flatMap((file) => ['--exclude', file]),
      ...['node', '--import', 'tsx', '--test', '--test-force-exit', '--test-reporter', 'dot'],
      ...TESTS,
    ],
    { env: { TSX_TSCONFIG_PATH: 'tsconfig.source.json' } },
  ),
);
