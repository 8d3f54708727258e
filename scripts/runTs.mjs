// node scripts/runTs.mjs [--needs chrome,vulkan] ENTRY [ARGUMENT...]: runs a TypeScript program in Node.
import { runProgram } from '../tools/runProgram.mjs';

const args = process.argv.slice(2);
const needs = (args[0] === '--needs' && args.splice(0, 2)[1]?.split(',')) || [];
const [entry, ...entryArgs] = args;
if (!entry) throw new Error('usage: node scripts/runTs.mjs [--needs chrome,vulkan] ENTRY [ARGUMENT...]');
await runProgram({ entry, args: entryArgs, needs });
