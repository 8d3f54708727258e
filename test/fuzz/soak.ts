// node scripts/runTs.mjs test/fuzz/soak.ts [INPUTS [SEED]]: malformed calls, as many as one likes.
import { fuzzCalls, summary } from './runCalls.js';

const [nInputs = 10_000, seed = Date.now() % 1e6] = process.argv.slice(2).map(Number);
console.log(`seed ${seed}`);
console.log(summary(await fuzzCalls(seed, nInputs)));
