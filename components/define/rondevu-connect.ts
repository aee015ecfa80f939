/** Defines <rondevu-connect>. */
import { define } from '../define.js';
import { RondevuConnect } from '../rondevu-connect.js';

define('rondevu-connect', RondevuConnect);
export { RondevuConnect };
