// node scripts/example.mjs NAME: runs the example of another engine in headless Chrome. What it needs is installed first.
import { runProgram } from '../tools/runProgram.mjs';

/** @type {Readonly<Record<string, readonly string[]>>} */
const needs = {
  'bare-webgpu': [],
  typegpu: [],
  tensorflow: ['tensorflow'],
  onnxruntime: ['onnxruntime'],
  transformers: ['onnxruntime', 'transformers'],
};

const [name = ''] = process.argv.slice(2);
const libraries = needs[name];
if (!libraries) {
  console.error(`usage: npm run example -- NAME, where NAME is ${Object.keys(needs).join(', ')}`);
  process.exit(1);
}
await runProgram({ entry: 'examples/main.ts', args: [name], needs: ['chrome', ...libraries] });
