// node scripts/runTs.mjs [--needs chrome,vulkan] ENTRY [ARGUMENT...]: runs a TypeScript program in Node, which sees its
// arguments in process.argv as if it had been started itself. What it needs is installed first.
import { basename, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { bundleForNode } from './bundleForNode.mjs';
import { setUp } from './setup/setUp.mjs';

const args = process.argv.slice(2);
const needs = args[0] === '--needs' ? args.splice(0, 2)[1]?.split(',') : undefined;
const [entry, ...entryArgs] = args;
if (!entry) throw new Error('usage: node scripts/runTs.mjs [--needs chrome,vulkan] ENTRY [ARGUMENT...]');

if (needs) await setUp(needs);
const program = resolve('node_modules/.cache/pageflash', `${basename(entry, '.ts')}.mjs`);
await bundleForNode({ entry, out: program, external: ['webgpu', 'puppeteer', 'vite'] });
process.setSourceMapsEnabled(true);
process.argv = [process.execPath, program, ...entryArgs];
await import(pathToFileURL(program).href);
