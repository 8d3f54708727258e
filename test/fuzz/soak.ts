// node scripts/runTs.mjs test/fuzz/soak.ts [INPUTS [SEED]]: spoilt arguments, as long as one likes.
import { runHostile, summary } from './runCalls.js';

const [nInputs = 10_000, seed = Date.now() % 1e6] = process.argv.slice(2).map(Number);
console.log(`seed ${seed}`);
console.log(summary(await runHostile(seed, nInputs)));
