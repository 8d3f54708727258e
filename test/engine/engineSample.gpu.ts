import { Sampler, type SampleRow } from '../../demo/engine/kernels/sample.js';
import {
  sampleReference,
  samplingProbabilities,
  type SampleReference,
  type SampleReferenceArgs,
} from '../../demo/engine/kernels/sampleReference.js';
import { checkSampling, type Sampling } from '../../demo/engine/kernels/sampling.js';
import { Random } from '../../tools/random.js';
import { assert, assertEqual, type GpuCase, type GpuTest } from '../platforms/gpuCase.js';
import { readBytes, readNumbers } from './gpuArrays.js';
import { sharedGpu } from './sharedGpu.js';
import { chiSquareBound, chiSquareOf } from './chiSquare.js';

/** Logits and tokens on a GPU, and a sampler of them. */
interface World {
  readonly sampler: Sampler;
  readonly logits: GPUBuffer;
  sample(rows: readonly SampleRow[]): Promise<{ tokens: Int32Array; logProbs: Float32Array }>;
}

interface WorldOptions {
  /** [rows, rowStride] */
  readonly logits: Float32Array<ArrayBuffer>;
  readonly vocabSize: number;
  readonly rowStride: number;
  readonly ids?: readonly number[];
}

async function withSampler(
  t: GpuTest,
  { logits, vocabSize, rowStride, ids = [] }: WorldOptions,
  use: (world: World) => Promise<void>,
): Promise<void> {
  const device = await t.device('full');
  const gpu = sharedGpu(device);
  try {
    const buffers = {
      logits: gpu.bufferOf('logits', logits),
      ids: gpu.bufferOf('ids', Uint32Array.from(ids.length > 0 ? ids : [0])),
    };
    const maxRows = Math.ceil(logits.length / rowStride);
    const sampler = await Sampler.create(gpu, { ...buffers, vocabSize, rowStride, maxRows });
    const sample: World['sample'] = async (rows) => {
      sampler.prepare(rows);
      const recorder = gpu.record();
      sampler.record(recorder);
      recorder.submit();
      const tokens = new Int32Array(await readBytes(gpu, sampler.sampled)).subarray(0, rows.length);
      const logProbs = (await readNumbers(gpu, sampler.logProbs)).subarray(0, rows.length);
      return { tokens, logProbs };
    };
    await use({ sampler, logits: buffers.logits, sample });
  } finally {
    gpu.destroy();
  }
}

/** Every combination of options, each on and off. */
function everyCombination(): Sampling[] {
  const onOff = (values: readonly [number, number]): readonly number[] => values;
  return [0, 0.7, 1.6].flatMap((temperature) =>
    onOff([0, 6]).flatMap((topK) =>
      onOff([1, 0.8]).flatMap((topP) =>
        onOff([0, 0.04]).flatMap((minP) =>
          onOff([1, 1.4]).map((repetitionPenalty) =>
            checkSampling({ temperature, topK, topP, minP, repetitionPenalty, seed: 17 }),
          ),
        ),
      ),
    ),
  );
}

/** Whether rounding may decide the token: two scores that nearly equal each other, or a token at a filter's edge. */
function isTooClose(args: SampleReferenceArgs, { token, margin }: SampleReference): boolean {
  const { temperature, topP, minP } = args.sampling;
  if (temperature === 0) return false;
  if (margin < 1e-4) return true;
  if (topP === 1 && minP === 0) return false;
  return [1 - 1e-5, 1 + 1e-5].some((factor) => {
    const sampling = { ...args.sampling, topP: topP === 1 ? 1 : topP * factor, minP: minP * factor };
    return sampleReference({ ...args, sampling }).token !== token;
  });
}

interface SampleShape {
  readonly vocabSize: number;
  readonly rowStride: number;
  /** Standard deviation of logits. */
  readonly spread: number;
  /** Of rows; all if left out. */
  readonly combinations?: readonly Sampling[];
  readonly why: string;
}

const SHAPES: readonly SampleShape[] = [
  { vocabSize: 1000, rowStride: 1000, spread: 3, why: 'rows of whole quads' },
  { vocabSize: 1001, rowStride: 1003, spread: 1, why: 'rows that begin within quads, flat' },
  { vocabSize: 3, rowStride: 3, spread: 1, why: 'a row smaller than a quad' },
  { vocabSize: 9001, rowStride: 9002, spread: 2.5, why: 'several slices' },
];

/** Compares rows of every combination of options with the reference. */
export function samplingCase({
  vocabSize,
  rowStride,
  spread,
  combinations = everyCombination(),
  why,
}: SampleShape): GpuCase {
  return {
    name: `sampling ${vocabSize} tokens by every combination of options`,
    why,
    cells: combinations.length,
    run: async (t) => {
      const random = new Random(vocabSize);
      const nRows = combinations.length;
      const logits = random.normals(nRows * rowStride).map((x) => spread * x);
      const ids = Array.from({ length: 2 * nRows }, () => random.int(0, vocabSize));
      const rows = combinations.map((sampling, i) => ({
        sampling,
        position: 3 * i,
        // A token twice, ones that do not exist, and ones that had been likely.
        history: [1, 1, vocabSize, 2 ** 32 - 1, ...mostLikely(logits.subarray(i * rowStride), vocabSize)],
        ids: { first: 2 * i, count: 2 },
      }));
      await withSampler(t, { logits, vocabSize, rowStride, ids }, async ({ sample, logits: buffer }) => {
        let nTooClose = 0;
        for (const shift of [0, 1000]) {
          const moved = rows.map((row) => ({ ...row, position: row.position + shift }));
          const { tokens, logProbs } = await sample(moved);
          moved.forEach(({ sampling, position, history }, i) => {
            const args = {
              logits: logits.slice(i * rowStride, i * rowStride + vocabSize),
              sampling,
              position,
              history: [...history, ...ids.slice(2 * i, 2 * i + 2)],
            };
            const want = sampleReference(args);
            if (isTooClose(args, want)) {
              nTooClose += 1;
              return;
            }
            const what = `row ${i}, ${JSON.stringify(sampling)}`;
            assertEqual(tokens[i], want.token, `${what}: token`);
            const error = Math.abs(logProbs[i]! - want.logProb);
            assert(error < 1e-4, `${what}: log-probability ${logProbs[i]}, expected ${want.logProb}`);
          });
        }
        assert(nTooClose <= 4, `${nTooClose} of ${2 * nRows} rows were too close to compare`);
        const after = await readNumbers(sharedGpu(await t.device('full')), buffer);
        assertEqual(after.subarray(0, logits.length), logits, 'logits after sampling');
      });
    },
  };
}

function mostLikely(row: Float32Array, vocabSize: number): number[] {
  const order = Array.from({ length: vocabSize }, (_, id) => id);
  return order.toSorted((a, b) => row[b]! - row[a]!).slice(0, 3);
}

const repeated = (row: Float32Array, times: number): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length: times * row.length }, (_, i) => row[i % row.length]!);

export const cases: GpuCase[] = [
  ...SHAPES.map(samplingCase),
  {
    name: 'draws follow the probabilities',
    run: async (t) => {
      const row = Float32Array.of(0.4, 0.25, 0.2, 0.1, 0.04, 0.009, 0.001).map(Math.log);
      const nRows = 128;
      const logits = repeated(row, nRows);
      await withSampler(t, { logits, vocabSize: 7, rowStride: 7 }, async ({ sample }) => {
        for (const options of [
          { temperature: 1, seed: 2 ** 32 - 1 },
          { temperature: 1.7, topK: 5, topP: 0.93, minP: 0.02, seed: 4 },
        ]) {
          const sampling = checkSampling(options);
          const counts = new Uint32Array(7);
          for (let round = 0; round < 8; round++) {
            const rows = Array.from({ length: nRows }, (_, i) => ({ sampling, position: round * nRows + i }));
            for (const token of (await sample(rows)).tokens) counts[token]! += 1;
          }
          const probabilities = samplingProbabilities({ logits: row, sampling, position: 0, history: [] });
          const [statistic, bound] = [chiSquareOf(counts, probabilities), chiSquareBound(probabilities)];
          assert(statistic < bound, `${JSON.stringify(options)}: ${counts} are unlikely, ${statistic}`);
        }
      });
    },
  },
  {
    name: 'a row gets the same token alone, in a batch, at another place and on another day',
    run: async (t) => {
      const vocabSize = 9001;
      const random = new Random(2);
      const row = random.normals(vocabSize);
      const rows = [checkSampling({ temperature: 1 }), checkSampling({ temperature: 1, topP: 0.5 })].flatMap(
        (sampling) => [1, 2, 3].map((position) => ({ sampling, position })),
      );
      const seen: (readonly number[])[] = [];
      const together = { logits: repeated(row, rows.length), vocabSize, rowStride: vocabSize };
      await withSampler(t, together, async ({ sample }) => {
        seen.push(Array.from((await sample(rows)).tokens));
        seen.push(Array.from((await sample(rows.toReversed())).tokens).toReversed());
        const alone: number[] = [];
        for (const one of rows) alone.push((await sample([one])).tokens[0]!);
        seen.push(alone);
      });
      for (const tokens of seen) assertEqual(tokens, seen[0]!, 'tokens');
      assert(new Set(seen[0]).size > 1, 'every position drew the same token');
    },
  },
  {
    name: 'greedy rows take the lowest of equal tokens',
    why: 'the largest are in different lanes and slices',
    run: async (t) => {
      const vocabSize = 17_000;
      const ties = [[16_999, 12_000, 8192], [4, 3], [16_384, 300], [1]];
      const logits = new Float32Array(ties.length * vocabSize).fill(-1);
      ties.forEach((ids, i) => ids.forEach((id) => (logits[i * vocabSize + id] = 2)));
      const rows = ties.map(() => ({ sampling: checkSampling({}), position: 0 }));
      await withSampler(t, { logits, vocabSize, rowStride: vocabSize }, async ({ sample }) => {
        assertEqual(Array.from((await sample(rows)).tokens), [8192, 3, 300, 1], 'tokens');
      });
    },
  },
  {
    name: 'logits that are no numbers never lead outside the vocabulary',
    run: async (t) => {
      const { NaN: nan } = Number;
      const kinds: readonly (readonly number[])[] = [
        [nan, nan, nan, nan, nan],
        [-Infinity, -Infinity, -Infinity, -Infinity, -Infinity],
        [nan, -5, -Infinity, nan, -Infinity],
        [-3e38, -Infinity, nan, -3.4e38, -Infinity],
        [3, Infinity, nan, 3e38, Infinity],
      ];
      const want = [0, 0, 1, 0, 1];
      const options = [
        {},
        { temperature: 0.001 },
        { temperature: 0.5, topK: 1 },
        { temperature: 1, topP: 0.1 },
        { temperature: 0.5, topK: 1, topP: 0.5, minP: 0.9 },
      ];
      const logits = repeated(Float32Array.from(kinds.flat()), options.length);
      const rows = options.flatMap((some) =>
        kinds.map(() => ({ sampling: checkSampling(some), position: 1 })),
      );
      await withSampler(t, { logits, vocabSize: 5, rowStride: 5 }, async ({ sample }) => {
        const { tokens, logProbs } = await sample(rows);
        options.forEach((some, i) => {
          const ofSome = Array.from(logProbs.subarray(5 * i, 5 * i + 3));
          assertEqual(
            Array.from(tokens.subarray(5 * i, 5 * i + 5)),
            want,
            `tokens of ${JSON.stringify(some)}`,
          );
          assertEqual(
            ofSome,
            [-Infinity, -Infinity, 0],
            'log-probabilities: of none, of none, of the only one',
          );
        });
      });
    },
  },
  {
    name: 'a history is forgotten after its step, and may grow',
    run: async (t) => {
      const vocabSize = 5000;
      const logits = Float32Array.from(
        { length: 2 * vocabSize },
        (_, i) => (vocabSize - (i % vocabSize)) / 100,
      );
      const sampling = checkSampling({ repetitionPenalty: 100 });
      const first = (n: number): SampleRow => ({
        sampling,
        position: n,
        history: Array.from({ length: n }, (_, token) => token),
      });
      await withSampler(t, { logits, vocabSize, rowStride: vocabSize }, async ({ sample }) => {
        for (const [a, b] of [
          [3, 0],
          [0, 7],
          [2000, 4000],
          [1, 2],
        ] as const)
          assertEqual(Array.from((await sample([first(a), first(b)])).tokens), [a, b], 'tokens');
      });
    },
  },
  {
    name: 'what cannot be sampled is refused',
    run: async (t) => {
      const gpu = sharedGpu(await t.device('full'));
      const logits = gpu.buffer('logits', 64);
      const options = { logits, ids: logits, vocabSize: 4, rowStride: 4, maxRows: 4 };
      const refusal = async (changed: Partial<typeof options>): Promise<string> =>
        Sampler.create(gpu, { ...options, ...changed }).then(
          () => 'nothing was refused',
          (error: unknown) => (error as Error).message,
        );
      try {
        assertEqual(await refusal({ rowStride: 3 }), 'rowStride must be at least vocabSize, 4, not 3.');
        assertEqual(await refusal({ maxRows: 5 }), 'logits of 5 rows must have 80 bytes, not 64.');
        const sampler = await Sampler.create(gpu, options);
        const row = { sampling: checkSampling({}), position: 0 };
        let message = '';
        try {
          sampler.prepare([row, row, row, row, row]);
        } catch (error) {
          message = (error as Error).message;
        }
        assertEqual(message, 'The sampler was made for 4 rows, not 5.');
      } finally {
        gpu.destroy();
      }
    },
  },
];
