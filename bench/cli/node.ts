// For a machine that has only Node and the package `webgpu`: bundle this with
// `node scripts/bundle.mjs bench/cli/node.ts bench.mjs`, and run `node bench.mjs` there.
import { openNodeHost } from '../hosts/nodeHost.js';
import { runBench } from './runBench.js';

await runBench({ command: 'node bench.mjs', hosts: { node: openNodeHost } });
