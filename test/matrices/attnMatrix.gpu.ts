import { roundTo } from '../../src/core/dtype.js';
import { elementCount } from '../../src/core/tensor.js';
import { attnVarlen } from '../../src/index.js';
import { attnVarlenReference, type HostTensor } from '../../src/reference/attention.js';
import { download } from '../../tools/deviceTensor.js';
import { checkKvCache, type KvCacheCase } from '../attention/kvCacheCase.js';
import { compare, draw, place, type VarlenCase } from '../attention/varlenCase.js';
import { assert, assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import { matricesOf, type MatricesInUse, type MatrixName } from './matrixDevices.js';

// What attn_matrix must do besides what every attention kernel must: on the device's own matrices, or on emulated ones.

const N_RUNS = 100;

/** Prompts only, all of which attn_matrix takes. */
const PROMPTS: VarlenCase = {
  why: '',
  lengths: [
    [40, 70],
    [30, 130],
    [70, 70],
  ],
  heads: [8, 2],
  headDim: 64,
  dtype: 'f16',
  causal: true,
};

/** And tokens of as many heads as it takes. */
const MIXED: VarlenCase = {
  ...PROMPTS,
  lengths: [...PROMPTS.lengths, [1, 200], [1, 33], [2, 90]],
};

/** Chunks, drafts and tokens after cached ones, in pages, with lengths on the GPU. */
const CACHED: KvCacheCase = {
  why: '',
  lengths: [
    [0, 70, 70],
    [203, 1, 1],
    [64, 3, 3],
    [17, 0, 5],
    [33, 2, 0],
    [9, 1, 4],
  ],
  ragged: true,
  heads: [8, 2],
  headDim: 64,
  dtype: 'f16',
  causal: true,
  pageSize: 3,
  onGpu: true,
};

type Inputs = ReturnType<typeof draw>;

interface Answer {
  readonly out: Float32Array;
  readonly lse: Float32Array;
}

/** Runs a case, and fails if any kernel but attn_matrix has attended. */
async function answerTo(
  { runtime, takeKernels }: MatricesInUse,
  varlen: VarlenCase,
  inputs: Inputs = draw(varlen),
): Promise<Answer> {
  const { args, lent } = place(runtime.device, varlen, inputs);
  takeKernels();
  const { out, lse } = attnVarlen(runtime, { ...args, returnLse: true });
  const kernels = takeKernels().filter((name) => name.startsWith('attn_'));
  assert(kernels.length > 0, 'no kernel attended');
  for (const name of kernels) assertEqual(name, 'attn_matrix', 'the kernel');
  const answer = { out: await download(runtime.device, out), lse: await download(runtime.device, lse!) };
  for (const { buffer } of [...lent, out, lse!]) buffer.destroy();
  return answer;
}

function onMatrices(
  name: string,
  run: (matrices: MatricesInUse) => Promise<void>,
  on: MatrixName = '8×8×8 of f16 by 8',
): GpuCase {
  return { name, run: async (t) => run(await matricesOf(await t.device(), on)) };
}

/** A case that must give what the reference gives. */
function right(varlen: Partial<VarlenCase> & Pick<VarlenCase, 'why'>): GpuCase {
  return onMatrices(varlen.why, async (matrices) => {
    const whole = { ...PROMPTS, ...varlen };
    const inputs = draw(whole);
    compare(whole, inputs, await answerTo(matrices, whole, inputs));
  });
}

/** What becomes of inputs in bf16. */
const EXTREMES: readonly (readonly [why: string, change: (inputs: Inputs) => void])[] = [
  ['values of 1e30', ({ v }) => scale(v, () => 1e30)],
  ['values of 1e-30', ({ v }) => scale(v, () => 1e-30)],
  ['values that grow by 2 every 8 keys', ({ v }) => scale(v, (token) => 2 ** (token / 8 - 60))],
  ['values that shrink by 2 every 8 keys', ({ v }) => scale(v, (token) => 2 ** (60 - token / 8))],
  [
    'tiny queries of huge keys',
    ({ q, k }) => {
      scale(q, () => 1e-30);
      scale(k, () => 1e30);
    },
  ],
  [
    'huge queries of tiny keys',
    ({ q, k }) => {
      scale(q, () => 1e30);
      scale(k, () => 1e-30);
    },
  ],
  [
    'keys that grow by 2 every 16 keys',
    ({ q, k }) => {
      scale(q, () => 2 ** -16);
      scale(k, (token) => 2 ** (token / 16));
    },
  ],
];

export const cases: GpuCase[] = [
  onMatrices('keys in pages give the bits of keys in rows', async (matrices) => {
    for (const numSplits of [1, 3]) {
      const rows = await answerTo(matrices, { ...MIXED, numSplits });
      for (const pageSize of [1, 5, 16, 64])
        expectSame(await answerTo(matrices, { ...MIXED, numSplits, pageSize }), rows);
    }
  }),
  onMatrices('grouped heads have the bits of repeated heads', async (matrices) => {
    // How often keys are split would depend on the number of kv heads.
    const grouped: VarlenCase = { ...PROMPTS, numSplits: 1 };
    const [nHeads, nKvHeads] = grouped.heads;
    const inputs = draw(grouped);
    const repeated = {
      ...inputs,
      k: repeatHeads(inputs.k, nHeads / nKvHeads),
      v: repeatHeads(inputs.v, nHeads / nKvHeads),
    };
    const alone: VarlenCase = { ...grouped, heads: [nHeads, nHeads] };
    expectSame(await answerTo(matrices, alone, repeated), await answerTo(matrices, grouped, inputs));
  }),
  onMatrices('a sequence has the bits that it has alone', async (matrices) => {
    const inputs = draw(MIXED);
    const together = await answerTo(matrices, MIXED, inputs);
    let [query, key] = [0, 0];
    for (const [sq, sk] of MIXED.lengths) {
      const alone = await answerTo(
        matrices,
        { ...MIXED, lengths: [[sq, sk]] },
        {
          q: tokensOf(inputs.q, query, sq),
          k: tokensOf(inputs.k, key, sk),
          v: tokensOf(inputs.v, key, sk),
          cuSeqlensQ: Int32Array.of(0, sq),
          cuSeqlensK: Int32Array.of(0, sk),
        },
      );
      const row = MIXED.heads[0] * MIXED.headDim;
      assertEqual(together.out.slice(query * row, (query + sq) * row), alone.out, `out beside ${sk} keys`);
      query += sq;
      key += sk;
    }
  }),
  onMatrices('keys split in any number of chunks are the whole', async (matrices) => {
    const whole = await answerTo(matrices, { ...MIXED, numSplits: 1 });
    for (const numSplits of [2, 3, 7]) {
      const split = await answerTo(matrices, { ...MIXED, numSplits });
      expectNear(split.out, whole.out, 2e-3);
      expectNear(split.lse, whole.lse, 1e-4);
    }
  }),
  onMatrices(`the same input gives the same bits, ${N_RUNS} times`, async (matrices) => {
    for (const dtype of ['f16', 'bf16'] as const) {
      const varlen: VarlenCase = { ...MIXED, dtype };
      const inputs = draw(varlen);
      const first = await answerTo(matrices, varlen, inputs);
      for (let run = 1; run < N_RUNS; run++) expectSame(await answerTo(matrices, varlen, inputs), first);
    }
  }),
  right({ why: 'unused slots and pages of NaN are never seen', partlyUsed: true, pageSize: 16 }),
  right({ why: 'unused keys of NaN behind those in use are never seen', partlyUsed: true }),
  right({
    why: 'a window hides whole tiles',
    lengths: [
      [60, 500],
      [200, 300],
    ],
    windowSize: [9, 3],
    causal: false,
  }),
  right({
    why: 'rows that see nothing',
    lengths: [
      [90, 20],
      [40, 0],
      [33, 65],
    ],
  }),
  right({ why: 'scores of one key far above the rest move the maximum once', scores: 'spike' }),
  ...(['pages', 'rows'] as const).map((missing) =>
    onMatrices(`${missing} that are not there are never seen`, async ({ runtime, takeKernels }) => {
      takeKernels();
      for (const dtype of ['f16', 'bf16'] as const)
        await checkKvCache(runtime, { ...CACHED, dtype, missing, batchIdx: missing === 'rows' });
      assertEqual(takeKernels().includes('attn_matrix'), true, 'whether attn_matrix has run');
    }),
  ),
  ...EXTREMES.map(([why, change]): GpuCase =>
    onMatrices(`bf16 keeps its range: ${why}`, async (matrices) => {
      const varlen: VarlenCase = { ...PROMPTS, lengths: [[64, 260]], heads: [4, 2], dtype: 'bf16' };
      const inputs = draw(varlen);
      change(inputs);
      await checkRows(matrices, varlen, inputs);
    }),
  ),
];

/** Multiplies the elements of each token. */
function scale({ data, shape }: HostTensor, factorOf: (token: number) => number): void {
  const row = elementCount(shape.slice(1));
  data.forEach((x, i) => ((data as Float32Array)[i] = roundTo('bf16', x * factorOf(Math.floor(i / row)))));
}

/** Compares each row by the size of its own numbers, as those of others may be far larger. */
async function checkRows(matrices: MatricesInUse, varlen: VarlenCase, inputs: Inputs): Promise<void> {
  const { out, lse } = await answerTo(matrices, varlen, inputs);
  const want = attnVarlenReference({ causal: varlen.causal, ...inputs });
  const { headDim } = varlen;
  for (let row = 0; row < out.length / headDim; row++) {
    const expected = Float64Array.from(want.out.data.subarray(row * headDim, (row + 1) * headDim));
    const size = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    expected.forEach((x, i) => {
      const got = out[row * headDim + i]!;
      assert(Math.abs(got - x) <= 0.01 * size, `row ${row}, element ${i} is ${got}, not ${x}`);
    });
  }
  want.lse.data.forEach((x, i) => {
    const isNear = Math.abs(lse[i]! - x) <= 1e-3 * Math.max(1, Math.abs(x));
    assert(isNear, `lse ${i} is ${lse[i]}, not ${x}`);
  });
}

function expectSame(actual: Answer, expected: Answer): void {
  assertEqual(actual.out, expected.out, 'out');
  assertEqual(actual.lse, expected.lse, 'lse');
}

function expectNear(actual: Float32Array, expected: Float32Array, tolerance: number): void {
  assertEqual(actual.length, expected.length, 'length');
  actual.forEach((got, i) => {
    const allowed = tolerance * Math.max(1, Math.abs(expected[i]!));
    assert(Math.abs(got - expected[i]!) <= allowed, `element ${i} is ${got}, expected ${expected[i]}`);
  });
}

/** So many tokens of [tokens, H, D]. */
function tokensOf({ data, shape }: HostTensor, first: number, count: number): HostTensor {
  const row = elementCount(shape.slice(1));
  return { shape: [count, ...shape.slice(1)], data: data.slice(first * row, (first + count) * row) };
}

/** [tokens, H, D] → [tokens, times · H, D] */
function repeatHeads({ data, shape }: HostTensor, times: number): HostTensor {
  const [tokens, nHeads, size] = shape as [number, number, number];
  const repeated = new Float32Array(data.length * times);
  for (let row = 0; row < tokens * nHeads * times; row++) {
    const from = Math.floor(row / times) * size;
    repeated.set(data.subarray(from, from + size), row * size);
  }
  return { shape: [tokens, nHeads * times, size], data: repeated };
}
