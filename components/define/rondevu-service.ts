/** Defines <rondevu-service>. */
import { define } from '../define.js';
import { RondevuService } from '../rondevu-service.js';

define('rondevu-service', RondevuService);
export { RondevuService };
