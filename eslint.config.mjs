import lit from 'eslint-plugin-lit';
import tseslint from 'typescript-eslint';

/**
 * DOM APIs that TypeScript knows and the oldest supported browsers (Chrome 120, Firefox 121, Safari 17.2) do not all have. For newer
 * APIs of the language the `lib` of tsconfig.json does the same.
 */
const NEWER_STATICS = [
  'AbortSignal.any',
  'URL.parse',
  'ReadableStream.from',
  'Document.parseHTMLUnsafe',
  'ClipboardItem.supports',
];
const NEWER_MEMBERS = [
  'checkVisibility getHTML setHTMLUnsafe moveBefore showPopover hidePopover togglePopover popover startViewTransition',
  'states requestIdleCallback scheduler databases highlights caretPositionFromPoint commitStyles requestClose closedBy',
].flatMap((names) => names.split(' '));
const message = 'newer than the oldest supported browsers';
const newer = [
  ...NEWER_STATICS.map((name) => name.split('.')).map(([object, property]) => ({ object, property, message })),
  ...NEWER_MEMBERS.map((property) => ({ property, message })),
];

/**
 * Calls whose promise nobody has to handle: node's runner waits for a test and reports its failure; `equal` of chai is synchronous,
 * although @open-wc/semantic-dom-diff declares a promise for the comparison of elements.
 */
const SAFE_CALLS = [
  { from: 'package', package: 'node:test', name: ['test', 'describe', 'suite', 'it'] },
  { from: 'package', package: 'chai', name: 'Equal' },
];

export default tseslint.config(
  { ignores: ['**/dist/', '**/dist.new/', '**/dist.old/', '**/node_modules/', '.test-results/'] },
  ...tseslint.configs.recommended,
  {
    rules: {
      'no-console': 'off',
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_', destructuredArrayIgnorePattern: '^_' },
      ],
      '@typescript-eslint/no-unused-expressions': ['error', { allowTernary: true, allowShortCircuit: true }],
    },
  },
  {
    files: ['src/**/*.ts', 'components/**/*.ts', 'server/src/**/*.ts', 'test/**/*.ts', 'bench/**/*.ts'],
    languageOptions: {
      parserOptions: {
        project: ['tsconfig.json', 'tsconfig.node.json', 'server/tsconfig.json', 'tsconfig.test.json'],
        tsconfigRootDir: import.meta.dirname,
      },
    },
    rules: {
      '@typescript-eslint/no-floating-promises': ['error', { allowForKnownSafeCalls: SAFE_CALLS }],
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
    },
  },
  {
    files: ['src/**/*.ts', 'components/**/*.ts', 'server/src/**/*.ts'],
    rules: {
      'no-restricted-exports': ['error', { restrictDefaultExports: { direct: true } }],
      'no-restricted-syntax': [
        'error',
        {
          selector:
            'BinaryExpression[operator=/^([-+]|[<>]=?)$/] > CallExpression[callee.object.name="Date"][callee.property.name="now"]',
          message:
            'The wall clock may jump: measure durations with performance.now(). Where the other operand is a wall-clock time, disable this rule and say so.',
        },
      ],
    },
  },
  {
    files: ['src/**/*.ts', 'components/**/*.ts'],
    ignores: ['src/node/**', 'src/cli/**'],
    rules: {
      'no-restricted-properties': ['error', ...newer],
      'no-restricted-globals': [
        'error',
        ...['requestIdleCallback', 'scheduler', 'CustomStateSet', 'CloseWatcher', 'Highlight'].map((name) => ({ name, message })),
      ],
    },
  },
  { ...lit.configs['flat/recommended'], files: ['components/**/*.ts'] },
);
