/** Checks the published types of the objects that applications use. This file is compiled by `npm run check` but never run. */
import { Rondevu, type AnswererConnection, type OffererConnection, type OfferPool, type RondevuChannel } from 'rondevu-elements';

declare const rondevu: Rondevu;
declare const joined: AnswererConnection;
declare const hosted: OffererConnection;
declare const channel: RondevuChannel;
declare const pool: OfferPool;

// the emitter methods are public, including `emit`
joined.emit('message', 'text');
joined.on('closed', (reason) => void reason.length).off('closed');
channel.emit('close');
// @ts-expect-error -- no such event
joined.on('conected', () => undefined);
// @ts-expect-error -- `message` has one argument
joined.on('message', (data, more) => void [data, more]);

// @ts-expect-error -- readonly
joined.serviceFqn = 'chat:1.0.0@alice';
// @ts-expect-error -- readonly
joined.generation = 2;
// @ts-expect-error -- readonly
joined.peer = undefined;
// @ts-expect-error -- readonly
joined.config.debug = true;
// @ts-expect-error -- readonly
channel.config = { ordered: true, maxQueueSize: 1, maxMessageAge: 1 };
// @ts-expect-error -- readonly
channel.config.ordered = false;
// @ts-expect-error -- readonly
pool.serviceId = 'id';
for (const message of joined.takeBuffer()) {
  // @ts-expect-error -- readonly
  message.attempts = 0;
}

// @ts-expect-error -- internal
joined.receiveSignal('restart?');
// @ts-expect-error -- internal
joined.adopt([]);
// @ts-expect-error -- internal
joined.suspend();
// @ts-expect-error -- internal
hosted.bind('offer', {});
// @ts-expect-error -- internal
hosted.setPeer({});
// @ts-expect-error -- internal
channel.peerReady();
// @ts-expect-error -- internal
channel.bind({}, () => undefined);
// @ts-expect-error -- internal
pool.suspend();
// @ts-expect-error -- internal
void rondevu.api.socket;
// @ts-expect-error -- internal
Rondevu.preparePublishing();
class Derived extends (null as unknown as typeof AnswererConnection) {
  // @ts-expect-error -- internal
  read = () => [this.link, this.endpoint, this.port];
}
void Derived;

// each mode has its own result type
const single = rondevu.findService('chat:1.0.0@alice');
const page = rondevu.findService('chat:1.0.0', { mode: 'paginated' });
void single.then(({ offerId, sdp }) => [offerId.length, sdp.length]);
void page.then(({ services, count }) => [services.length, count]);
// @ts-expect-error -- a page of services has no offer
void page.then(({ offerId }) => offerId);
// the methods of older clients need no additional import
void rondevu.getService('chat:1.0.0@alice').then(({ sdp }) => sdp.length);
void rondevu.connect('alice', 'chat:1.0.0').then((connection) => connection.connectionInfo.uuid);
void rondevu.getActiveOffers().map(({ answered }) => answered);
