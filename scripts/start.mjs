// `npm start`: builds and runs the server with the demo. Flags go on to the server.
import { run } from './run.mjs';

run('node', ['scripts/build.mjs']);
run('node', ['server/dist/main.js', '--static', '.', ...process.argv.slice(2)]);
