// node scripts/runTs.mjs test/paging/soak.ts [OPERATIONS [SEED]]: the property tests of paging, for as long as you like.
import { fuzzAllocator, fuzzManager, fuzzPlanner } from './fuzz/fuzzPaging.js';

const [nWanted = 200_000, seed = Date.now() % 1e6] = process.argv.slice(2).map(Number);
for (const [fuzz, what] of [
  [fuzzAllocator, 'operations on an allocator'],
  [fuzzManager, 'operations on a page manager'],
  [fuzzPlanner, 'events and steps of a planner'],
] as const) {
  let nDone = 0;
  for (let round = 0; nDone < nWanted; round++) {
    nDone += fuzz({ nRuns: 200, seed: seed + round });
    console.log(`${nDone} ${what}, seed ${seed + round}`);
  }
}
