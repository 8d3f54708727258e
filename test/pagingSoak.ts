// node scripts/runTs.mjs test/pagingSoak.ts [OPERATIONS [SEED]]: the property tests of paging, for as long as one likes.
import { runScripts } from './support/pagingScripts.js';

const [nWanted = 200_000, seed = Date.now() % 1e6] = process.argv.slice(2).map(Number);
let nOperations = 0;
for (let round = 0; nOperations < nWanted; round++) {
  nOperations += runScripts({ nScripts: 200, seed: seed + round });
  console.log(`${nOperations} operations on a page manager, seed ${seed + round}`);
}
