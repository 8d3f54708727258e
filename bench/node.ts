// For a machine that has Node and the package `webgpu` and nothing else: bundle it with
// `node scripts/bundle.mjs bench/node.ts bench.mjs`, and run `node bench.mjs` there.
import { openNodeBench } from './nodeBench.js';
import { runBench } from './runBench.js';

await runBench({ command: 'node bench.mjs', benches: { node: openNodeBench } });
