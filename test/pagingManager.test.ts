import { describe, expect, test } from 'vitest';
import { runScripts } from './support/pagingScripts.js';

describe('whatever an engine does', () => {
  test('each token is where its table says, and the invariants hold', { timeout: 60_000 }, () => {
    expect(runScripts({ nScripts: 100, seed: 1 })).toBeGreaterThan(3000);
  });
});
