// npm run example:mini-llama [-- FOLDER]: answers a prompt with the model in a folder, once, then eight times in one batch.
import { join } from 'node:path';
import { createRuntime, PagedKvCache, prepareModel, requestDevice } from 'pageflash';
import { create } from 'webgpu';
import { Server } from './serve.js';
import { loadLlama, readSafetensors } from './weights.js';

const [folder = 'examples/mini-llama/model'] = process.argv.slice(2);
const MAX_TOKENS = 32;
const N_ANSWERS = 8;

// In a browser, requestDevice() is enough.
const device = await requestDevice({ gpu: create([]) });
const runtime = createRuntime(device);

const llama = await loadLlama(folder);
const model = { ...llama.shape, dtype: 'f32' } as const;
// Compile all kernels ahead of the first step. Some drivers compile only when a kernel first runs, hence warmUp.
const served = { paged: true, rotary: true, maxTokens: MAX_TOKENS };
await prepareModel(runtime, { ...model, ...served, warmUp: true });
const cache = await PagedKvCache.create(runtime, { ...model, pageSize: 16, nPages: 128 });
const server = new Server({ runtime, llama, cache, maxTokens: MAX_TOKENS });

// Such a small model has no tokenizer: prompt and answer are lists of token ids.
const golden = await readSafetensors(join(folder, 'golden.safetensors'));
const prompt = numbers('ids');
const expected = numbers('greedy');
console.log(`prompt   ${prompt.join(' ')}`);

const answer = server.ask({ tokens: prompt, maxNewTokens: expected.length });
const prefill = await secondsOf(async () => {
  while (answer.tokens.length === 0) await server.step();
});
const decode = await secondsOf(async () => {
  while (await server.step());
});
const isAsExpected = answer.tokens.join() === expected.join();
console.log(`answer   ${answer.tokens.join(' ')}${isAsExpected ? ', as it should be' : ', which is wrong'}`);
console.log(`prefill  ${speed(prompt.length, prefill)}`);
console.log(`decode   ${speed(answer.tokens.length - 1, decode)}`);

// Now the prefix cache has the prompt, except for the last tokens, which do not fill a page.
for (let i = 0; i < N_ANSWERS; i++) server.ask({ tokens: prompt, maxNewTokens: expected.length });
const together = await secondsOf(async () => {
  while (await server.step());
});
console.log(`${N_ANSWERS} answers ${speed(N_ANSWERS * expected.length, together)}`);

server.destroy();
cache.destroy();
runtime.destroy();
device.destroy();

function numbers(name: string): number[] {
  const tensor = golden.get(name);
  if (!tensor) throw new Error(`golden.safetensors has no ${name}.`);
  return [...tensor.data];
}

async function secondsOf(work: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

function speed(nTokens: number, seconds: number): string {
  return `${nTokens} tokens in ${seconds.toFixed(2)} s, ${Math.round(nTokens / seconds)} tokens/s`;
}
