/** Tests which SQLite versions allow a second connection to checkpoint the write-ahead log. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isSafe } from '../../server/src/sqlite-checkpoints.js';

test('checkpoints run in another thread only with SQLite versions that do not have the WAL-reset bug', () => {
  for (const version of ['3.44.6', '3.50.7', '3.51.3', '3.52.0', '3.53.4', '4.0.0']) assert.equal(isSafe(version), true, version);
  for (const version of ['3.7.0', '3.44.5', '3.45.1', '3.45.9', '3.50.6', '3.51.2'])
    assert.equal(isSafe(version), false, version);
});
