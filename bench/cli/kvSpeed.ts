// node scripts/runTs.mjs --needs vulkan bench/cli/kvSpeed.ts: calls over caches of each format, interleaved, as a table.
import { createRuntime, requestDevice } from '../../src/index.js';
import { threeDigits } from '../../tools/format.js';
import { createNodeGpu } from '../../tools/nodeDevice.js';
import { FORMAT_CASES, formatCall, type CallShape } from '../cases/kvSpeed.js';

const heads = { nHeads: 32, nKvHeads: 8, headDim: 128 };
const SHAPES: readonly CallShape[] = [
  { name: 'a step of 4 sequences of 2048 keys', batch: 4, nQueries: 1, nKeys: 2048, ...heads },
  { name: 'a prompt of 256 tokens', batch: 1, nQueries: 256, nKeys: 256, ...heads },
];
const ROUNDS = 15;

const gpu = createNodeGpu();
const device = await requestDevice({ gpu });
const runtime = createRuntime(device);
const median = (times: number[]): number => times.toSorted((a, b) => a - b)[times.length >> 1]!;
for (const shape of SHAPES) {
  const calls = FORMAT_CASES.map((format) => formatCall(runtime, shape, format));
  const times = calls.map((): number[] => []);
  // The first round compiles.
  for (let round = -1; round < ROUNDS; round++)
    for (const [i, call] of calls.entries()) {
      const start = performance.now();
      call.run();
      await device.queue.onSubmittedWorkDone();
      if (round >= 0) times[i]!.push(performance.now() - start);
    }
  console.log(`\n| ${shape.name} | MB of cache | ms | to f16 |\n| --- | --- | --- | --- |`);
  const ofF16 = median(times[0]!);
  for (const [i, { name }] of FORMAT_CASES.entries()) {
    const [ms, megabytes] = [median(times[i]!), calls[i]!.bytes / 1e6];
    console.log(
      `| ${name} | ${threeDigits(megabytes)} | ${threeDigits(ms)} | ${threeDigits(ofF16 / ms)} × |`,
    );
    calls[i]!.destroy();
  }
}
await runtime.done();
runtime.destroy();
device.destroy();
