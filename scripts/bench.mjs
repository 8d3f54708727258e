// node scripts/bench.mjs [OPTION...]: runs bench/cli/main.ts, which knows the options; `--help` lists them.
import { parseArgs } from 'node:util';
import { runProgram } from '../tools/runProgram.mjs';

const args = process.argv.slice(2);
// What the program will refuse needs nothing either.
const { values } = parseArgs({
  args,
  strict: false,
  options: { adapter: { type: 'string', default: 'chrome' }, help: { type: 'boolean', short: 'h' } },
});
/** @type {Readonly<Record<string, readonly string[]>>} */
const needs = { chrome: ['chrome'], node: ['vulkan'] };
await runProgram({
  entry: 'bench/cli/main.ts',
  args,
  needs: (!values.help && needs[String(values.adapter)]) || [],
});
