import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createRuntime, PagedKvCache, PageManager, StepPlanner, type Runtime } from 'pageflash';
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest';
import { createAttention } from '../../examples/mini-llama/attention.js';
import { forward, logitsOf } from '../../examples/mini-llama/llama.js';
import { Server, type ServerOptions } from '../../examples/mini-llama/serve.js';
import { loadLlama, readSafetensors, type LlamaWeights } from '../../examples/mini-llama/weights.js';
import { createNodeGpu, pollSparingly } from '../../tools/nodeDevice.js';
import { GpuDevices } from '../platforms/gpuDevices.js';
import { nodeCommand } from '../platforms/hosts.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const FOLDER = `${ROOT}examples/mini-llama/`;

/** A prompt of 70 tokens takes three steps. */
const MAX_TOKENS = 32;
const PAGE_SIZE = 8;

pollSparingly();
const devices = new GpuDevices(createNodeGpu());
let runtime: Runtime;
let llama: LlamaWeights;
/** [70] */
let prompt: number[];
/** [70, vocabSize]: of every token of the prompt, by transformers in f64 */
let logits: number[];
/** [24]: what follows from the prompt */
let greedy: number[];

beforeAll(async () => {
  // One for all tests, since kernels are compiled once a runtime.
  runtime = createRuntime(await devices.get());
  llama = await loadLlama(`${FOLDER}model`);
  const golden = await readSafetensors(`${FOLDER}model/golden.safetensors`);
  const numbers = (name: string) => [...golden.get(name)!.data];
  [prompt, logits, greedy] = [numbers('ids'), numbers('logits'), numbers('greedy')];
});

const closers: (() => void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) close();
  expect(await devices.takeErrors()).toEqual([]);
});
afterAll(async () => {
  runtime.destroy();
  await devices.destroy();
});

async function makeCache(nPages: number): Promise<PagedKvCache> {
  const cache = await PagedKvCache.create(runtime, {
    ...llama.shape,
    dtype: 'f32',
    pageSize: PAGE_SIZE,
    nPages,
  });
  closers.push(() => cache.destroy());
  return cache;
}

type Size = Pick<ServerOptions, 'preempt' | 'nHostPages'> & { readonly nPages?: number };

async function makeServer({ nPages = 64, ...options }: Size = {}): Promise<Server> {
  const server = new Server({
    runtime,
    llama,
    cache: await makeCache(nPages),
    maxTokens: MAX_TOKENS,
    ...options,
  });
  closers.push(() => server.destroy());
  return server;
}

/** The prompt, to be answered with as many tokens as are known. */
function question() {
  return { tokens: prompt, maxNewTokens: greedy.length };
}

/** Take steps until there is nothing to do, or `isEnough`. Returns how many. */
async function run(server: Server, isEnough: () => boolean = () => false): Promise<number> {
  let nSteps = 0;
  while (!isEnough() && (await server.step())) nSteps++;
  return nSteps;
}

test('a prompt in chunks gives the logits of the reference', async () => {
  const cache = await makeCache(16);
  const pages = new PageManager({ nPages: cache.nPages, pageSize: cache.pageSize });
  const planner = new StepPlanner({ pages, maxTokens: MAX_TOKENS, maxSequences: 1 });
  const attention = createAttention({ runtime, llama, cache, maxTokens: MAX_TOKENS });
  closers.push(() => attention.destroy());
  planner.add({ tokens: prompt });

  const nTokens: number[] = [];
  const actual: number[] = [];
  while (actual.length < logits.length) {
    const step = planner.plan();
    if (typeof step === 'string') throw new Error(`The planner is ${step}.`);
    const hidden = await forward(llama, step.tokens, await attention.begin(step));
    step.tokens.forEach((_, row) => actual.push(...logitsOf(llama, hidden, row)));
    nTokens.push(step.nNewTokens);
    planner.commit(Array.from(step.sampled, () => greedy[0]!));
  }
  expect(nTokens).toEqual([32, 32, 6]);
  // The reference kept its rotary frequencies in f16, as it keeps the weights. So its angles are off in proportion to the
  // position, and with exact angles the logits differ by up to 1.8e-5 a position, in f64 too. To that, f32 adds about 1e-5.
  // A frequency that is off by a thousandth would make 5e-3 a position.
  const errors = actual.map(
    (logit, i) => Math.abs(logit - logits[i]!) / (1 + Math.floor(i / llama.shape.vocabSize)),
  );
  expect(Math.max(...errors)).toBeLessThan(3e-5);
});

test('a prompt is prefilled, and decoded token by token', async () => {
  const server = await makeServer();
  const answer = server.ask(question());
  expect(await run(server)).toBe(3 + greedy.length - 1);
  expect(answer.tokens).toEqual(greedy);
  expect(server.pages.usage().nUsed).toBe(0);
});

test('a sequence joins while another one decodes', async () => {
  const server = await makeServer();
  const first = server.ask(question());
  await run(server, () => first.tokens.length === 5);
  const second = server.ask({ ...question(), isPrivate: true });
  await run(server, () => second.tokens.length === 1);
  // The one that decodes has not been held up by the other one's three chunks.
  expect(first.tokens).toEqual(greedy.slice(0, 8));
  await run(server);
  expect(first.tokens).toEqual(greedy);
  expect(second.tokens).toEqual(greedy);
});

test('a fork goes on alike, or with another token, in pages that it shares', async () => {
  const server = await makeServer();
  const answer = server.ask(question());
  await run(server, () => answer.tokens.length === 5);
  const nUsed = server.pages.usage().nUsed;
  const same = server.fork(answer);
  const other = server.fork(answer, 200);
  expect(server.pages.usage().nUsed).toBe(nUsed);
  await run(server);
  expect(answer.tokens).toEqual(greedy);
  expect(same.tokens).toEqual(greedy);

  // What a fork with another token says is what a prompt with that token gives.
  const asPrompt = server.ask({
    tokens: [...prompt, ...greedy.slice(0, 4), 200],
    maxNewTokens: greedy.length - 5,
    isPrivate: true,
  });
  await run(server);
  expect(other.tokens).toEqual([...greedy.slice(0, 4), 200, ...asPrompt.tokens]);
  expect(other.tokens).not.toEqual(greedy);
});

test('a prompt finds the pages of another one that begins alike', async () => {
  const server = await makeServer();
  server.ask(question());
  await run(server);
  const again = server.ask(question());
  const nPrefix = PAGE_SIZE * Math.floor(prompt.length / PAGE_SIZE);
  expect(server.pages.nToCompute(again.sequence)).toBe(prompt.length - nPrefix);
  // One that ends sooner finds whole pages only.
  const shorter = server.ask({ tokens: [...prompt.slice(0, 20), 200], maxNewTokens: 1 });
  expect(server.pages.nToCompute(shorter.sequence)).toBe(21 - 16);
  expect(await run(server)).toBe(greedy.length);
  expect(again.tokens).toEqual(greedy);
});

test.each([
  { preempt: 'recompute', nHostPages: 0, why: 'its pages are lost, and computed again' },
  { preempt: 'swap', nHostPages: 16, why: 'its pages wait in host memory' },
] as const)(
  'a sequence gives way in a pool that is too small ($preempt): $why',
  async ({ preempt, nHostPages }) => {
    // Each takes 9 pages at first, and 12 in the end.
    const server = await makeServer({ nPages: 20, preempt, nHostPages });
    const answers = [0, 1].map(() => server.ask({ ...question(), isPrivate: true }));
    const isWaiting = () => {
      const { nComputed, isSwapped } = server.pages.sequence(answers[1]!.sequence);
      return preempt === 'swap' ? isSwapped : nComputed === 0;
    };
    await run(server, () => answers[1]!.tokens.length > 0);
    expect(isWaiting()).toBe(false);
    await run(server, isWaiting);
    expect(isWaiting()).toBe(true);
    await run(server);
    for (const { tokens } of answers) expect(tokens).toEqual(greedy);
  },
);

test('says what cannot be served', async () => {
  const server = await makeServer();
  expect(() => server.ask({ tokens: prompt, maxNewTokens: 443 })).toThrowErrorMatchingInlineSnapshot(
    `[Error: The model has 512 positions, too few for this prompt and its answer.]`,
  );
  const answer = server.ask({ tokens: prompt, maxNewTokens: 442 });
  expect(() => server.fork(answer)).toThrowErrorMatchingInlineSnapshot(
    `[Error: An answer without a token cannot be forked. Ask again instead.]`,
  );
  const tooSmall = await makeServer({ nPages: 8 });
  tooSmall.ask(question());
  await expect(tooSmall.step()).rejects.toThrowErrorMatchingInlineSnapshot(
    `[Error: A sequence does not fit into the cache, not even alone.]`,
  );
});

test('the program runs from a shell', async () => {
  const { command, args, env } = nodeCommand(
    ['scripts/runTs.mjs', 'examples/mini-llama/main.ts'],
    inject('mesa'),
  );
  const { stdout } = await promisify(execFile)(command, args, { cwd: ROOT, env });
  expect(stdout).toContain(`prompt   ${prompt.join(' ')}\n`);
  expect(stdout).toContain(`answer   ${greedy.join(' ')}, as it should be\n`);
  expect(stdout).toMatch(/^8 answers 192 tokens in [\d.]+ s, \d+ tokens\/s$/m);
});

test('attention, cache and serving take 120 lines of code at most', () => {
  const nLines = ['attention.ts', 'serve.ts'].map((name) => {
    const lines = readFileSync(FOLDER + name, 'utf8')
      .split('\n')
      .map((line) => line.trim());
    return lines.filter((line) => line !== '' && !/^(\/\/|\/\*|\*)/.test(line)).length;
  });
  expect(nLines[0]! + nLines[1]!).toBeLessThanOrEqual(120);
});
