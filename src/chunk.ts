/** Parts that are loaded when they are needed. */
import { RondevuError } from './errors.js';

/** @throws RondevuError `unsupported` when the file is not where the bundle is */
export async function chunk<T>(name: string, loading: Promise<T>): Promise<T> {
  try {
    return await loading;
  } catch (cause) {
    throw new RondevuError('unsupported', `the file ${name} could not be loaded: put it beside the bundle`, { cause });
  }
}
