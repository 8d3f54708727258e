import { QUANTISED, type QuantisedDType } from '../../src/core/dtype.js';
import { scaleShape, unpackCodes } from '../../src/core/kvFormats.js';
import { elementCount, isTensor, type Tensor } from '../../src/core/tensor.js';
import {
  attnWithKvCache,
  PagedKvCache,
  planAttnWithKvCache,
  type AttnWithKvCacheArgs,
  type Runtime,
} from '../../src/index.js';
import { download, downloadBuffer, upload, uploadCodes } from '../../tools/deviceTensor.js';
import { Random } from '../../tools/random.js';
import { assert, assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import { withRuntime } from '../platforms/withRuntime.js';

// Codes bit by bit: every one of e4m3 is read, and the same tokens are written in the same bits.

const ALL_BYTES = Uint8Array.from({ length: 256 }, (_, i) => i);
const ALL_NUMBERS = unpackCodes('e4m3', ALL_BYTES);

/** One key of zeros, so that the output is its value. */
async function valuesRead(runtime: Runtime, nQueries: number): Promise<Float32Array> {
  const { device } = runtime;
  const { out } = attnWithKvCache(runtime, {
    q: upload(device, 'f32', [1, nQueries, 1, 8], new Float32Array(8 * nQueries)),
    kCache: uploadCodes(device, 'e4m3', [1, 1, 1, 8], new Uint8Array(8)),
    vCache: uploadCodes(device, 'e4m3', [1, 1, 1, 256], ALL_BYTES),
    cacheSeqlens: 1,
  });
  return (await download(device, out)).subarray(256 * (nQueries - 1));
}

/** Query i is 1 at element i alone, and there is one key, so that lse i is element i of the key. */
async function keysRead(runtime: Runtime, isDecode: boolean): Promise<Float32Array> {
  const { device } = runtime;
  const shape = isDecode ? [16, 1, 16, 256] : [1, 256, 1, 256];
  const eye = new Float32Array(256 * 256);
  for (let i = 0; i < 256; i++) eye[257 * i] = 1;
  // A NaN would be a part of every score.
  const bytes = ALL_BYTES.map((byte) => ((byte & 0x7f) === 0x7f ? 0 : byte));
  const { lse } = attnWithKvCache(runtime, {
    q: upload(device, 'f32', shape, eye),
    kCache: uploadCodes(device, 'e4m3', [1, 1, 1, 256], bytes),
    vCache: uploadCodes(device, 'e4m3', [1, 1, 1, 8], new Uint8Array(8)),
    cacheSeqlens: 1,
    softmaxScale: 1,
    returnLse: true,
    ...(isDecode && { cacheBatchIdx: new Int32Array(16) }),
  });
  return download(device, lse);
}

const read: GpuCase[] = [
  {
    name: 'all 256 codes of e4m3 are read as values: by a step, and in a prompt',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        for (const nQueries of [1, 40])
          (await valuesRead(runtime, nQueries)).forEach((got, byte) =>
            assert(
              got === ALL_NUMBERS[byte] || (Number.isNaN(got) && Number.isNaN(ALL_NUMBERS[byte])),
              `code ${byte} of ${nQueries} queries is read as ${got}, not ${ALL_NUMBERS[byte]}`,
            ),
          );
      }),
  },
  {
    name: 'and as keys',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        for (const isDecode of [true, false])
          (await keysRead(runtime, isDecode)).forEach((got, byte) => {
            const want = Number.isNaN(ALL_NUMBERS[byte]) ? 0 : ALL_NUMBERS[byte]!;
            // In base 2 meanwhile.
            assert(Math.abs(got - want) <= Math.abs(want) * 2 ** -21, `key ${byte} is ${got}, not ${want}`);
          });
      }),
  },
];

const HEAD_DIM = 32;
const N_TOKENS = 7;

/** A cache of zeros, and the arguments that append the same tokens to it, from the second slot on. */
function appending(
  runtime: Runtime,
  dtype: QuantisedDType,
  kvRotation: AttnWithKvCacheArgs['kvRotation'],
): AttnWithKvCacheArgs {
  const random = new Random(9);
  const shape = [1, N_TOKENS + 2, 2, HEAD_DIM];
  const fresh = (): Tensor => {
    const tokens = [1, N_TOKENS, 2, HEAD_DIM];
    return upload(runtime.device, 'f16', tokens, random.normals(elementCount(tokens)));
  };
  const scale = () => (dtype === 'e4m3' ? [0.01] : runtime.createTensor(scaleShape(dtype, shape), 'f16', ''));
  const angles = random.uniforms(20 * 8, 0, 6);
  return {
    q: fresh(),
    k: fresh(),
    v: fresh(),
    kCache: runtime.createTensor(shape, dtype, ''),
    vCache: runtime.createTensor(shape, dtype, ''),
    kScale: scale(),
    vScale: scale(),
    cacheSeqlens: 1,
    causal: true,
    rotaryCos: angles.map(Math.cos),
    rotarySin: angles.map(Math.sin),
    rotaryDim: 16,
    kvRotation,
  };
}

/** The bits of all that a call writes. */
async function bitsOf(runtime: Runtime, args: AttnWithKvCacheArgs, out: Tensor): Promise<number[]> {
  const written = [args.kCache, args.vCache, args.kScale, args.vScale, out].filter(isTensor);
  const bits: number[] = [];
  for (const { buffer } of written)
    bits.push(...new Uint32Array(await downloadBuffer(runtime.device, buffer)));
  return bits;
}

const repeated: GpuCase[] = QUANTISED.flatMap((dtype) =>
  ([undefined, 'hadamard'] as const).map((kvRotation) => ({
    name: `the same tokens are written in the same bits: ${dtype}${kvRotation ? ', turned' : ''}`,
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const runs: number[][] = [];
        for (let run = 0; run < 3; run++) {
          const args = appending(runtime, dtype, kvRotation);
          runs.push(await bitsOf(runtime, args, attnWithKvCache(runtime, args).out));
        }
        assert(new Set(runs[0]).size > 50, 'nothing was written');
        for (const run of runs) assertEqual(run, runs[0], 'bits of another run');
      }),
  })),
);

const planned: GpuCase[] = [
  {
    name: 'a plan over the turned layers of a cache, and calls, give the same bits',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const options = { nLayers: 2, nKvHeads: 2, headDim: HEAD_DIM, dtype: 'i4', pageSize: 4 } as const;
        const make = () => PagedKvCache.create(runtime, { ...options, nPages: 8, kvRotation: 'hadamard' });
        const [byPlan, byCalls] = [await make(), await make()];
        const { q, k, v, causal } = appending(runtime, 'i4', undefined);
        const tokens = (tensor: Tensor, from: number, n: number): Tensor => ({
          ...tensor,
          shape: [1, n, 2, HEAD_DIM],
          offset: from * 2 * HEAD_DIM,
        });
        const steps = [
          { cacheSeqlens: 0, n: 5 },
          { cacheSeqlens: 5, n: 1 },
          { cacheSeqlens: 6, n: 1 },
        ];
        let plan: ReturnType<typeof planAttnWithKvCache> | undefined;
        for (const { cacheSeqlens, n } of steps) {
          const [ofQ, ofK, ofV] = [q, k!, v!].map((each) => tokens(each, cacheSeqlens, n)) as [
            Tensor,
            Tensor,
            Tensor,
          ];
          const step = { q: ofQ, k: ofK, v: ofV, cacheSeqlens, blockTable: [6, 1], causal };
          if (plan) plan.update(step);
          else plan = planAttnWithKvCache(runtime, { ...step, ...byPlan.layer(0) });
          for (let layer = 0; layer < 2; layer++) {
            const out = runtime.createTensor(ofQ.shape, 'f16', 'out');
            plan.record({ ...byPlan.layer(layer), out });
            const called = attnWithKvCache(runtime, { ...step, ...byCalls.layer(layer) });
            const [got, want] = [
              await download(runtime.device, out),
              await download(runtime.device, called.out),
            ];
            assert(new Set(got).size > 8, 'nothing was computed');
            assertEqual(got, want, `layer ${layer} after ${cacheSeqlens} tokens`);
          }
        }
        plan!.destroy();
        byPlan.destroy();
        byCalls.destroy();
      }),
  },
];

export const cases: GpuCase[] = [...read, ...repeated, ...planned];
