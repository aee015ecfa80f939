/** Defines <rondevu-chat>, and the two tags that it may make for itself. */
import { define } from '../define.js';
import { RondevuChat } from '../rondevu-chat.js';
import './rondevu-connect.js';
import './rondevu-service.js';

define('rondevu-chat', RondevuChat);
export { RondevuChat };
