// node scripts/bench.mjs [OPTION...]: runs bench/cli/main.ts, which knows the options; `--help` lists them.
import { parseArgs } from 'node:util';
import { runProgram } from '../tools/runProgram.mjs';

const args = process.argv.slice(2);
// What the program will refuse needs nothing either.
const { values } = parseArgs({
  args,
  strict: false,
  options: {
    adapter: { type: 'string', default: 'chrome' },
    peers: { type: 'boolean' },
    all: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  },
});
/** @type {Readonly<Record<string, readonly string[]>>} */
const hosts = { chrome: ['chrome'], node: ['vulkan'] };
const libraries = values.peers || values.all ? ['onnxruntime'] : [];
await runProgram({
  entry: 'bench/cli/main.ts',
  args,
  needs: values.help ? [] : [...(hosts[String(values.adapter)] ?? []), ...libraries],
});
