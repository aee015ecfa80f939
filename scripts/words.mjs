// Finds unidiomatic phrases in comments, test names, strings and documents.
// Prints each pattern with the number of matching lines and better wording.
// Fails if more lines match than MAX allows, so that new text cannot add any.
//
//   --list   prints every line that matches
import { readFileSync, readdirSync } from 'node:fs';
import { parseArgs } from 'node:util';
import ts from 'typescript';

/** Patterns to find, each with better wording. Clauses are matched at the beginning of a sentence. */
const PATTERNS = [
  [
    /(?:^|[.:;!?]\s+)(?:what|who|whoever|whatever)\s+(?!(?:is|are|was|were|happens|to)\b[^.]*\?)/i,
    'a clause as subject: name the thing ("Messages that …", "The peer that …")',
  ],
  [
    /\b(?:is|are|was|were|be|being|been|gets?) told\b|\btells? of\b|\btold (?:as|by|with)\b/i,
    '"is told": name the event, the callback or the reply ("emits", "reports", "calls")',
  ],
  [/\blets? go\b|\blet go\b/i, '"lets go": "releases", "closes", "drops"'],
  [/\bthat of\b|\bthose of\b/i, '"that of": repeat the noun'],
  [/(?<!\bthere )(?<!\bwhere there )\b(?:is|are) none\b/i, '"is none": "unknown", "invalid", "there is no"'],
  [/\b(?:goes|go|going|went) on\b/i, '"goes on": "continues", "keeps"'],
  [/\bin line\b/i, '"in line": "is queued", "waits in the queue"'],
  [/\b(?:is|are|was) looked\b|\bhow often is\b|\bis asked how\b/i, '"is looked": "checks", "interval"'],
  [/\bfor ever\b/i, '"for ever": "without a limit"'],
  [/\bmade anew\b|\bloaded anew\b|\banew\b/i, '"anew": "again", "reloaded", "another"'],
  [/\bof (?:ours|theirs|yours)\b/i, '"of ours": "our own", "this version", or name the owner'],
  [/\btakes? .{1,30} for (?:a|an|the|another) \b.*\binstead\b|\btaken for\b/i, '"taken for": "treated as"'],
  [/\bsigns? of life\b|\bshows life\b/i, '"sign of life": "is alive", "anything received"'],
  [/\bwhoever\b|\bwhomever\b/i, '"whoever": "the peer", "the caller", "anybody"'],
  [/\bonce more\b/i, '"once more": "again"'],
];

/** Maximum number of matching lines in comments, in strings, and in test names and documents. Never raise these limits. */
const MAX = { comments: 0, strings: 0, texts: 6 };
/** Files whose strings are shown to users: messages, help texts and labels. */
const HAS_TEXTS = /^(?:src|components|server\/src|demo)\//;
const PROSE = /[a-z]{2} [a-z]{2}/i;

const { values: flags } = parseArgs({ options: { list: { type: 'boolean' } } });

const filesOf = (folder, pattern) =>
  readdirSync(folder, { recursive: true })
    .map((name) => `${folder}/${name}`)
    .filter((name) => pattern.test(name) && !/\/(node_modules|dist)\//.test(name))
    .sort();

const lines = [];
const add = (kind, file, line, text) => {
  const plain = text
    .replace(/^[\s/*#-]+/, '')
    .replace(/`[^`]*`/g, 'x')
    .trim();
  const found = PATTERNS.findIndex(([pattern]) => pattern.test(plain));
  if (found >= 0) lines.push({ kind, file, line, text: plain, found });
};

/** Reads the comments of a source file, the names of its tests, and the strings that are prose. */
function readSource(file) {
  const text = readFileSync(file, 'utf8');
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const lineOf = (position) => source.getLineAndCharacterOfPosition(position).line + 1;
  const seen = new Set();
  const readComments = (ranges = []) => {
    for (const { pos, end } of ranges) {
      if (seen.has(pos)) continue;
      seen.add(pos);
      text
        .slice(pos, end)
        .split('\n')
        .forEach((line, index) => add('comments', file, lineOf(pos) + index, line.replace(/@\w+/, '')));
    }
  };
  const visit = (node) => {
    if (ts.isCallExpression(node) && /^(?:it|test|describe)\b/.test(node.expression.getText(source))) {
      const [name] = node.arguments;
      if (name && (ts.isStringLiteralLike(name) || ts.isTemplateExpression(name)))
        add('tests', file, lineOf(name.getStart(source)), name.getText(source).slice(1, -1));
    }
    if (HAS_TEXTS.test(file) && (ts.isStringLiteralLike(node) || ts.isTemplateExpression(node))) {
      const parts = node.head ? [node.head, ...node.templateSpans.map((span) => span.literal)] : [node];
      const string = parts.map((part) => part.text).join('x');
      string.split('\n').forEach((line, index) => {
        if (PROSE.test(line)) add('strings', file, lineOf(node.getStart(source)) + index, line);
      });
    }
    const children = node.getChildren(source);
    if (!children.length) {
      readComments(ts.getLeadingCommentRanges(text, node.pos));
      readComments(ts.getTrailingCommentRanges(text, node.end));
    }
    for (const child of children) visit(child);
  };
  visit(source);
}

for (const folder of ['src', 'components', 'server/src', 'test', 'bench', 'scripts', 'examples', 'demo'])
  for (const file of filesOf(folder, /\.(?:ts|mjs|js)$/)) if (file !== 'scripts/words.mjs') readSource(file);
for (const file of ['README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md', ...filesOf('docs', /\.md$/)])
  readFileSync(file, 'utf8')
    .replace(/^```[^]*?^```/gm, (block) => block.replace(/[^\n]/g, ''))
    .split('\n')
    .forEach((line, index) => add('docs', file, index + 1, line));

const count = (kind) => lines.filter((line) => line.kind === kind).length;
for (const [index, [pattern, advice]] of PATTERNS.entries()) {
  const found = lines.filter((line) => line.found === index).length;
  console.log(`${String(found).padStart(4)}  ${advice}  ${pattern}`);
}
if (flags.list) for (const { file, line, text } of lines) console.log(`${file}:${line}: ${text}`);
const sums = { comments: count('comments'), tests: count('tests'), strings: count('strings'), docs: count('docs') };
console.log(
  `words: ${sums.comments} lines of comments, ${sums.tests} names of tests, ${sums.strings} lines of strings, ${sums.docs} lines of documents match`,
);
const isMore = sums.comments > MAX.comments || sums.strings > MAX.strings || sums.tests + sums.docs > MAX.texts;
process.exit(isMore ? 1 : 0);
