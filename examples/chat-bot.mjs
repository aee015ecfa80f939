// A chat bot on raw data channels, with its own offerFactory and handlers and the message format of <rondevu-chat>.
//   node examples/chat-bot.mjs
import { closeOnSignal, connect } from 'rondevu-elements/node';

const rondevu = await connect({
  apiUrl: process.env.RONDEVU_SERVER ?? 'http://localhost:3000',
  username: process.env.BOT_NAME ?? 'bot',
  keyFile: process.env.BOT_KEY ?? './chat-bot.key', // with the stored key, the bot keeps its username across restarts
});
const from = rondevu.getUsername();
const publicKey = rondevu.getPublicKey();

const service = await rondevu.publishService({
  service: 'chat:2.0.0',
  maxOffers: 5,
  // called for each offer; the channel opens when a peer joins
  offerFactory: async (pc) => {
    const dc = pc.createDataChannel('chat');
    // unused offers are closed too, so only a channel that was open reports that a peer left
    dc.onopen = () => {
      console.log('somebody joined');
      dc.addEventListener('close', () => console.log('somebody left'));
    };
    dc.onmessage = ({ data }) => {
      const word = parse(data);
      if (word?.type === 'identify') {
        console.log(`peer: ${word.from}`);
        dc.send(JSON.stringify({ type: 'identify_ack', from, publicKey }));
      } else if (word?.type === 'message') {
        dc.send(JSON.stringify({ type: 'message', from, text: `You said: ${word.text}` }));
      }
    };
    return { dc, offer: await pc.createOffer() };
  },
});
rondevu.on('offer:failed', (offerId, error) => console.error('offer failed:', error.message));
await service.start();
closeOnSignal(rondevu, { onSignal: (signal) => console.log(`${signal}: leaving`) });
console.log(`${service.fqn} is live`);

function parse(data) {
  try {
    return JSON.parse(data);
  } catch {
    return undefined; // not a chat message
  }
}
