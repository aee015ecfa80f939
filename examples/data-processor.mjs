// A data processor: a joiner sends numbers as Float64 bytes, and receives the running mean after each chunk.
// Memory use is bounded on both sides: the sender waits for the network and for results.
//   node examples/data-processor.mjs            publishes mean:1.0.0
//   node examples/data-processor.mjs join FQN   sends 20 million numbers to that service
import { closeOnSignal, connect } from 'rondevu-elements/node';

const apiUrl = process.env.RONDEVU_SERVER ?? 'http://localhost:3000';
const [mode, fqn] = process.argv.slice(2);
const MOST_QUEUED = 1 << 20; // bytes

if (mode === 'join') await join(fqn);
else await host();

async function host() {
  const rondevu = await connect({ apiUrl, username: process.env.BOT_NAME, keyFile: process.env.BOT_KEY ?? './mean.key' });
  rondevu.on('connection:opened', (offerId, connection) => {
    let [count, sum] = [0, 0];
    connection.on('message', (data) => {
      if (!(data instanceof ArrayBuffer) || data.byteLength % 8) return void connection.close({ reason: 'not numbers' });
      for (const value of new Float64Array(data)) {
        sum += value;
        count++;
      }
      connection.send(JSON.stringify({ count, mean: sum / count }));
    });
    connection.on('closed', (reason) => console.log(`${connection.peer.username}: ${count} numbers, ${reason}`));
  });
  const service = await rondevu.publishService({ service: 'mean:1.0.0' });
  await service.start();
  closeOnSignal(rondevu);
  console.log(`${service.fqn} is live`);
}

async function join(serviceFqn) {
  const rondevu = await connect({ apiUrl });
  // the transfer waits for the network without a time limit, and no message may expire
  const connectionConfig = { maxReconnectAttempts: 0, maxBufferAge: 0, maxBufferSize: 100_000 };
  const connection = await rondevu.connectToService({ serviceFqn, wait: 10_000, connectionConfig });
  await connection.opened;
  const total = Number(process.env.NUMBERS ?? 20_000_000);
  let last = { count: 0 };
  let gotResult = () => undefined;
  connection.on('message', (data) => {
    last = JSON.parse(data);
    gotResult();
  });
  connection.on('closed', (reason) => {
    if (last.count === total) return;
    console.error(`the processor disconnected: ${reason}`);
    process.exit(1);
  });
  const CHUNK = 8192;
  for (let sent = 0; sent < total; sent += CHUNK) {
    const numbers = Float64Array.from({ length: Math.min(CHUNK, total - sent) }, (_, index) => sent + index);
    if (connection.bufferedAmount > MOST_QUEUED) await connection.drained(); // wait for the network
    while (sent - last.count > 100 * CHUNK) await new Promise((resolve) => (gotResult = resolve)); // wait for results
    connection.send(numbers);
  }
  while (last.count < total) await new Promise((resolve) => (gotResult = resolve));
  console.log(`${last.count} numbers, mean ${last.mean}`);
  await rondevu.close();
  process.exit(0); // WebRTC threads would otherwise keep the process running
}
