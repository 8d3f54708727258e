import {
  attnVarlen,
  attnWithKvCache,
  BlockAllocator,
  PagedKvCache,
  type AttentionOptions,
  type Runtime,
} from '../../src/index.js';
import { elementCount } from '../../src/core/tensor.js';
import type { HostTensor } from '../../src/reference/attention.js';
import { download, upload } from '../../tools/deviceTensor.js';
import { assert, assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import { randomTensor } from '../reference/hostTensors.js';
import { Random } from '../../tools/random.js';
import { runningSum } from './caseInputs.js';
import { sharedRuntime } from '../platforms/withRuntime.js';

// Different calls that must give the same result.

const [N_HEADS, N_KV_HEADS, HEAD_DIM] = [4, 2, 64];

interface Question extends AttentionOptions {
  /** [totalQ, Hq, D] */
  readonly q: HostTensor;
  /** [totalK, Hkv, D] */
  readonly k: HostTensor;
  readonly v: HostTensor;
  /** Queries and keys of each sequence. Default: all of them one sequence. */
  readonly lengths?: readonly (readonly [sq: number, sk: number])[];
}

interface Answer {
  readonly out: Float32Array;
  readonly lse: Float32Array;
}

async function answerTo(runtime: Runtime, { q, k, v, lengths, ...options }: Question): Promise<Answer> {
  const { device } = runtime;
  const sequences = lengths ?? [[q.shape[0]!, k.shape[0]!] as const];
  const lent = [q, k, v].map(({ shape, data }) => upload(device, 'f32', shape, data));
  const result = attnVarlen(runtime, {
    q: lent[0]!,
    k: lent[1]!,
    v: lent[2]!,
    cuSeqlensQ: runningSum(sequences.map(([sq]) => sq)),
    cuSeqlensK: runningSum(sequences.map(([, sk]) => sk)),
    ...options,
    returnLse: true,
  });
  const answer = { out: await download(device, result.out), lse: await download(device, result.lse!) };
  for (const { buffer } of [...lent, result.out, result.lse!]) buffer.destroy();
  return answer;
}

const random = new Random(11);
const queries = (n: number): HostTensor => randomTensor(random, [n, N_HEADS, HEAD_DIM]);
const keys = (n: number): HostTensor => randomTensor(random, [n, N_KV_HEADS, HEAD_DIM]);

/** A prompt after a few cached keys, and single tokens: both attention kernels. */
const MIXED = {
  lengths: [
    [40, 70],
    [1, 90],
    [1, 33],
  ],
  q: queries(42),
  k: keys(193),
  v: keys(193),
} as const;

function identity(
  name: string,
  run: (runtime: Runtime, ask: (question: Question) => Promise<Answer>) => Promise<void>,
): GpuCase {
  return {
    name,
    async run(t) {
      const runtime = sharedRuntime(await t.device());
      await run(runtime, (question) => answerTo(runtime, question));
    },
  };
}

export const cases: readonly GpuCase[] = [
  identity('a token that decodes is the last row of its prompt', async (runtime, ask) => {
    const { device } = runtime;
    const [q, k, v] = [queries(75), keys(75), keys(75)];
    const { out } = await ask({ q, k, v, causal: true });
    const cache = await PagedKvCache.create(runtime, {
      nLayers: 1,
      nKvHeads: N_KV_HEADS,
      headDim: HEAD_DIM,
      dtype: 'f32',
      pageSize: 16,
      tokens: 96,
    });
    const pages = new BlockAllocator(cache);
    const chat = pages.create();
    const append = (from: number, to: number) => {
      assert(pages.append(chat, to - from) !== 'full', 'the cache is full');
      const [first, fresh, values] = [q, k, v].map((tensor) => {
        const { shape, data } = tokensOf(tensor, from, to);
        return upload(device, 'f32', [1, ...shape], data);
      });
      const { cacheSeqlens, blockTable } = pages.batch([chat], [to - from]);
      const tensors = { q: first!, k: fresh!, v: values! };
      return attnWithKvCache(runtime, {
        ...tensors,
        ...cache.layer(0),
        cacheSeqlens,
        blockTable,
        causal: true,
      });
    };
    append(0, 74);
    const last = await download(device, append(74, 75).out);
    expectNear(last, out.subarray(74 * N_HEADS * HEAD_DIM), 2e-6);
    cache.destroy();
  }),

  identity('grouped heads are repeated heads', async (_, ask) => {
    const grouped = await ask(MIXED);
    const repeated = await ask({ ...MIXED, k: repeatHeads(MIXED.k), v: repeatHeads(MIXED.v) });
    expectSame(repeated, grouped, 2e-6);
  }),

  identity('a window as long as the keys is none', async (_, ask) => {
    for (const causal of [false, true]) {
      const whole = await ask({ ...MIXED, causal });
      const window = await ask({ ...MIXED, causal, windowSize: [90, 90] });
      expectSame(window, whole, 0);
    }
  }),

  identity('a chunk of attention as long as the keys is none', async (_, ask) => {
    expectSame(await ask({ ...MIXED, attentionChunk: 90 }), await ask(MIXED), 0);
  }),

  identity('the order of keys without positions is only rounding', async (_, ask) => {
    const [q, k, v] = [queries(20), keys(85), keys(85)];
    const order = random.permutation(85);
    const shuffled = { k: permuteTokens(k, order), v: permuteTokens(v, order) };
    expectSame(await ask({ q, ...shuffled }), await ask({ q, k, v }), 2e-6);
  }),

  identity('a softcap far above all scores is none', async (_, ask) => {
    // c·tanh(s/c) = s − s³/3c² + …, and tanh has an error of one rounding of 1, which c makes c times as large.
    const cap = 200;
    expectSame(await ask({ ...MIXED, softcap: cap }), await ask(MIXED), 1e-3);
  }),

  identity('a slope of zero is none, and so is a sink that weighs nothing', async (_, ask) => {
    const plain = await ask(MIXED);
    expectSame(await ask({ ...MIXED, alibiSlopes: [0, 0, 0, 0] }), plain, 0);
    expectSame(await ask({ ...MIXED, sinks: [-1e30, -1e30, -1e30, -1e30] }), plain, 0);
  }),

  identity('sequences end to end are each by itself', async (_, ask) => {
    for (const numSplits of [1, 3]) {
      const together = await ask({ ...MIXED, causal: true, numSplits });
      let [firstQuery, firstKey] = [0, 0];
      for (const [sq, sk] of MIXED.lengths) {
        const alone = await ask({
          q: tokensOf(MIXED.q, firstQuery, firstQuery + sq),
          k: tokensOf(MIXED.k, firstKey, firstKey + sk),
          v: tokensOf(MIXED.v, firstKey, firstKey + sk),
          causal: true,
          numSplits,
        });
        const row = N_HEADS * HEAD_DIM;
        const own = together.out.slice(firstQuery * row, (firstQuery + sq) * row);
        assertEqual(own, alone.out, `out of the sequence with ${sk} keys`);
        firstQuery += sq;
        firstKey += sk;
      }
    }
  }),

  identity('keys split in any number of chunks are the whole', async (_, ask) => {
    const whole = await ask({ ...MIXED, causal: true, numSplits: 1 });
    for (const numSplits of [2, 3, 7])
      expectSame(await ask({ ...MIXED, causal: true, numSplits }), whole, 2e-6);
  }),

  identity('a fork sees what its parent sees, and leaves it alone', async (runtime) => {
    const { device } = runtime;
    const size = {
      nLayers: 1,
      nKvHeads: N_KV_HEADS,
      headDim: HEAD_DIM,
      dtype: 'f32',
      pageSize: 16,
      nPages: 12,
    } as const;
    const cache = await PagedKvCache.create(runtime, size);
    const pages = new BlockAllocator(cache);
    const parent = pages.create();
    const step = (chats: readonly number[], tokens: readonly HostTensor[]) => {
      const nNew = tokens[0]!.shape[0]!;
      for (const chat of chats) {
        const copies = pages.append(chat, nNew);
        assert(copies !== 'full', 'the cache is full');
        cache.copyPages(copies);
      }
      const [q, k, v] = tokens.map(({ shape, data }) =>
        upload(
          device,
          'f32',
          [chats.length, ...shape],
          chats.flatMap(() => [...data]),
        ),
      );
      const { cacheSeqlens, blockTable } = pages.batch(
        chats,
        chats.map(() => nNew),
      );
      const tensors = { q: q!, k: k!, v: v!, ...cache.layer(0) };
      return download(
        device,
        attnWithKvCache(runtime, { ...tensors, cacheSeqlens, blockTable, causal: true }).out,
      );
    };
    const draw = (n: number) => [queries(n), keys(n), keys(n)];
    await step([parent], draw(37));
    const child = pages.fork(parent);
    // Another token for the child first: it must not be seen by the parent, whose page they shared.
    await step([child], draw(1));
    pages.truncate(child, 37);
    const both = await step([parent, child], draw(1));
    assertEqual(both.slice(both.length / 2), both.slice(0, both.length / 2), 'out of the fork');
    cache.destroy();
  }),
];

function expectSame(actual: Answer, expected: Answer, tolerance: number): void {
  expectNear(actual.out, expected.out, tolerance);
  expectNear(actual.lse, expected.lse, tolerance);
}

function expectNear(actual: Float32Array, expected: Float32Array, tolerance: number): void {
  if (tolerance === 0) return assertEqual(actual, expected);
  assertEqual(actual.length, expected.length, 'length');
  actual.forEach((got, i) => {
    const want = expected[i]!;
    const allowed = tolerance * Math.max(1, Math.abs(want));
    assert(got === want || Math.abs(got - want) <= allowed, `element ${i} is ${got}, expected ${want}`);
  });
}

/** Tokens from ≤ t < to of [tokens, H, D]. */
function tokensOf({ data, shape }: HostTensor, from: number, to: number): HostTensor {
  const row = elementCount(shape.slice(1));
  return { data: data.subarray(from * row, to * row) as Float32Array, shape: [to - from, ...shape.slice(1)] };
}

function permuteTokens({ data, shape }: HostTensor, order: Int32Array): HostTensor {
  const row = elementCount(shape.slice(1));
  const permuted = new Float32Array(data.length);
  order.forEach((from, to) => permuted.set(data.subarray(from * row, (from + 1) * row), to * row));
  return { data: permuted, shape };
}

/** [tokens, Hkv, D] → [tokens, Hq, D] */
function repeatHeads({ data, shape }: HostTensor): HostTensor {
  const repeated = new Float32Array(shape[0]! * N_HEADS * HEAD_DIM);
  for (let row = 0; row < shape[0]! * N_HEADS; row++) {
    const from = Math.floor(row / (N_HEADS / N_KV_HEADS)) * HEAD_DIM;
    repeated.set(data.subarray(from, from + HEAD_DIM), row * HEAD_DIM);
  }
  return { data: repeated, shape: [shape[0]!, N_HEADS, HEAD_DIM] };
}
