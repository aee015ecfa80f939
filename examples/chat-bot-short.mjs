// A short version of chat-bot.mjs with durable connections: messages arrive once and in order, despite network outages.
import { closeOnSignal, connect } from 'rondevu-elements/node';
const {
  RONDEVU_SERVER: apiUrl = 'http://localhost:3000',
  BOT_NAME: username = 'bot',
  BOT_KEY: keyFile = './bot.key',
} = process.env;
const rondevu = await connect({ apiUrl, username, keyFile });
rondevu.on('connection:opened', (offerId, connection) => {
  connection.on('message', (data) => {
    const { type, text } = JSON.parse(data);
    if (type === 'identify') connection.send(JSON.stringify({ type: 'identify_ack', from: username }));
    if (type === 'message') connection.send(JSON.stringify({ type: 'message', text: `You said: ${text}` }));
  });
});
await (await rondevu.publishService({ service: 'chat:2.0.0' })).start();
closeOnSignal(rondevu);
