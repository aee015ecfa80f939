// Graceful shutdown of a service: withdraws the offers, sends connected peers a last message, and exits with code 0.
import { closeOnSignal, connect } from 'rondevu-elements/node';

const rondevu = await connect({ apiUrl: process.env.RONDEVU_SERVER ?? 'http://localhost:3000' });
const service = await rondevu.publishService({ service: 'clock:1.0.0' });
await service.start();
const ticking = setInterval(() => {
  for (const connection of service.connections) connection.send(new Date().toISOString());
}, 1000);

closeOnSignal(rondevu, {
  signals: ['SIGINT', 'SIGTERM'],
  onSignal: async (signal) => {
    console.log(`${signal}: ending`);
    clearInterval(ticking);
    await service.stop({ close: false }); // withdraws the offers; connections stay open for now
    const goodbyes = service.connections.map((connection) => connection.send('goodbye').delivered);
    await Promise.race([Promise.all(goodbyes), new Promise((resolve) => setTimeout(resolve, 2000))]);
  },
}); // then rondevu.close() runs, and the process exits with code 0
console.log(`${service.fqn} is live`);
