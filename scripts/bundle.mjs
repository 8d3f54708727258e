// node scripts/bundle.mjs ENTRY OUT: one file that a machine with only Node and the package `webgpu` can run.
import { bundleForNode } from '../tools/runProgram.mjs';

const [entry, out] = process.argv.slice(2);
if (!entry || !out) throw new Error('usage: node scripts/bundle.mjs ENTRY OUT');
await bundleForNode({ entry, out, external: ['webgpu'] });
