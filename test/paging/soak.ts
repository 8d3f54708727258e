// node scripts/runTs.mjs test/paging/soak.ts [OPERATIONS [SEED]]: the property tests of paging, as long as one likes.
import { runAllocations, runEngines, runScripts } from './scripts.js';

const [nWanted = 200_000, seed = Date.now() % 1e6] = process.argv.slice(2).map(Number);
for (const [run, what] of [
  [runAllocations, 'operations on an allocator'],
  [runScripts, 'operations on a page manager'],
  [runEngines, 'events and steps of a planner'],
] as const) {
  let nDone = 0;
  for (let round = 0; nDone < nWanted; round++) {
    nDone += run({ nScripts: 200, seed: seed + round });
    console.log(`${nDone} ${what}, seed ${seed + round}`);
  }
}
