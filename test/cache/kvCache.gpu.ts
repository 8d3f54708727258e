import { attnWithKvCache, planAttnWithKvCache, type Runtime, type Tensor } from '../../src/index.js';
import type { HostTensor } from '../../src/reference/attention.js';
import { countCalls } from '../../tools/countCalls.js';
import { download, downloadBuffer, upload } from '../../tools/deviceTensor.js';
import { assert, assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import {
  checkKvCache,
  compareKvCache,
  drawKvCache,
  intoPages,
  placeKvCache,
  type KvCacheCase,
  SMALL_DECODE,
} from '../attention/kvCacheCase.js';
import { withRuntime } from '../platforms/withRuntime.js';

/** Batches for which one kernel runs several times, each time with its own work list. */
const PLANNED: readonly KvCacheCase[] = [
  {
    ...SMALL_DECODE,
    why: 'decoding beside speculation, whole and in chunks',
    lengths: [
      [100, 1, 1],
      [100, 3, 3],
      [2100, 1, 1],
    ],
    ragged: true,
  },
  {
    ...SMALL_DECODE,
    why: 'fewer new tokens than queries to rotate',
    lengths: [
      [100, 3, 1],
      [50, 3, 1],
    ],
  },
];

/** Two sequences that decode, each in a row of a cache, which lengths on the GPU must not exceed. */
const TWO_ROWS: KvCacheCase = {
  ...SMALL_DECODE,
  lengths: [
    [30, 1, 1],
    [30, 1, 1],
  ],
};

async function bitsOf({ device }: Runtime, { buffer }: Tensor): Promise<Uint32Array> {
  return new Uint32Array(await downloadBuffer(device, buffer));
}

export const cases: GpuCase[] = [
  {
    name: 'pages of any size and a cache of rows give the same bits',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        for (const numSplits of [1, 3]) {
          const kvCase: KvCacheCase = { ...SMALL_DECODE, numSplits };
          const inputs = drawKvCache(kvCase);
          const bits = async (pageSize?: number) => {
            const placed = pageSize ? intoPages(inputs, pageSize) : inputs;
            const { args } = placeKvCache(runtime.device, kvCase, placed);
            return bitsOf(runtime, attnWithKvCache(runtime, args).out);
          };
          const rows = await bits();
          for (const pageSize of [1, 3, 16, 256])
            assertEqual(await bits(pageSize), rows, `pages of ${pageSize}`);
        }
      }),
  },
  {
    name: 'lengths on the GPU that are too long are cut, and nothing is written elsewhere',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const inputs = drawKvCache(TWO_ROWS);
        const { args } = placeKvCache(device, TWO_ROWS, inputs);
        const before = await bitsOf(runtime, args.kCache);
        const cacheSeqlens = upload(device, 'i32', [2], [1_000_000, -5]);
        const { out } = attnWithKvCache(runtime, { ...args, cacheSeqlens });
        const after = await bitsOf(runtime, args.kCache);
        // The first row is full; in the second, a length below zero counts as zero.
        const firstSlot = inputs.kCache.shape[1]! * 64;
        assertEqual(after.subarray(0, firstSlot), before.subarray(0, firstSlot), 'the full row');
        const rest = firstSlot + 64;
        assertEqual(after.subarray(rest), before.subarray(rest), 'the other row behind its first slot');
        assert(after[firstSlot] !== before[firstSlot], 'nothing was written to the first slot');
        assert(
          !(await download(device, out)).subarray(4 * 64).some(Number.isNaN),
          'NaN in the second output',
        );
      }),
  },
  {
    name: 'a sequence on the GPU that goes beyond the rotary tables has no keys, and nothing is written',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const inputs = drawKvCache(TWO_ROWS);
        const { args } = placeKvCache(device, TWO_ROWS, inputs);
        const before = await bitsOf(runtime, args.kCache);
        // One position more than the second sequence needs.
        const nPositions = 22;
        const cut = ({ data }: HostTensor) => data.slice(0, nPositions * 16) as Float32Array;
        const result = attnWithKvCache(runtime, {
          ...args,
          rotaryCos: cut(inputs.rotaryCos!),
          rotarySin: cut(inputs.rotarySin!),
          cacheSeqlens: upload(device, 'i32', [2], [22, 20]),
          returnLse: true,
        });
        const after = await bitsOf(runtime, args.kCache);
        const firstSlot = inputs.kCache.shape[1]! * 64;
        assertEqual(after.subarray(0, firstSlot), before.subarray(0, firstSlot), 'the row beyond the tables');
        assert(after[firstSlot + 20 * 64] !== before[firstSlot + 20 * 64], 'the other row was not written');
        const out = await download(device, result.out);
        assertEqual(out.subarray(0, 4 * 64), new Float32Array(4 * 64), 'out beyond the tables');
        assert(
          out.subarray(4 * 64).every((x) => x !== 0),
          'the other output is zero',
        );
        const lse = await download(device, result.lse!);
        assertEqual(lse.subarray(0, 4), new Float32Array(4).fill(-Infinity), 'lse beyond the tables');
      }),
  },
  {
    name: 'nothing to do is no error',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const none = { heads: [4, 1], headDim: 64, dtype: 'f32', why: 'empty' } as const;
        await checkKvCache(runtime, { ...none, lengths: [[0, 0, 0]], causal: true });
        await checkKvCache(runtime, {
          ...none,
          lengths: [
            [0, 1, 0],
            [3, 1, 0],
          ],
          ragged: true,
        });
        // Only an append, without queries.
        await checkKvCache(runtime, {
          ...none,
          lengths: [
            [7, 0, 2],
            [0, 0, 2],
          ],
        });
        const { device } = runtime;
        const empty = upload(device, 'f32', [0, 1, 4, 64], []);
        const cache = upload(device, 'f32', [0, 8, 1, 64], []);
        const { out } = attnWithKvCache(runtime, {
          q: empty,
          kCache: cache,
          vCache: cache,
          cacheSeqlens: [],
        });
        assertEqual(out.shape, [0, 1, 4, 64], 'out');
      }),
  },
  {
    name: 'a plan does what the calls do, layer after layer and step after step, and creates nothing anew',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        // Pages for four tokens more than there are.
        const kvCase: KvCacheCase = {
          ...SMALL_DECODE,
          lengths: SMALL_DECODE.lengths.map(([cached]) => [cached, 1, 5]),
        };
        const inputs = intoPages(drawKvCache(kvCase), 16);
        const makeLayers = () =>
          [1, 2, 3].map((seed) => {
            const { q, k, v } = drawKvCache({ ...SMALL_DECODE, seed });
            const { args } = placeKvCache(device, SMALL_DECODE, { ...inputs, q, k: k!, v: v! });
            const out = runtime.createTensor([3, 1, 4, 64], 'f32');
            return { args, out };
          });
        const called = makeLayers();
        const planned = makeLayers();
        const { pass: _none, ...firstLayer } = planned[0]!.args;
        const plan = planAttnWithKvCache(runtime, firstLayer);
        for (let step = 0; step < 4; step++) {
          const cacheSeqlens = inputs.cacheSeqlens.map((length) => length + step);
          for (const { args, out } of called) attnWithKvCache(runtime, { ...args, cacheSeqlens, out });

          const update = countCalls(device, () => plan.update({ cacheSeqlens }));
          const encoder = device.createCommandEncoder();
          const pass = encoder.beginComputePass();
          const record = countCalls(device, () => {
            for (const { args, out } of planned) {
              const { q, k, v, kCache, vCache } = args;
              plan.record({ q, k, v, kCache, vCache, out, pass });
            }
          });
          pass.end();
          device.queue.submit([encoder.finish()]);
          if (step > 0) {
            assertEqual(update.createBuffer, 0, 'buffers of an update');
            assertEqual(update.createBindGroup, 0, 'bind groups of an update');
            assertEqual(record.createBuffer, 0, 'buffers of a step');
            assertEqual(record.writeBuffer, 0, 'writes of a step');
            assertEqual(record.createBindGroup, 0, 'bind groups of a step');
          }
          for (const [i, { out, args }] of planned.entries()) {
            const want = called[i]!;
            assertEqual(await bitsOf(runtime, out), await bitsOf(runtime, want.out), `out of layer ${i}`);
            assertEqual(
              await bitsOf(runtime, args.kCache),
              await bitsOf(runtime, want.args.kCache),
              `keys of layer ${i}`,
            );
          }
        }
        plan.destroy();
      }),
  },
  ...PLANNED.map((kvCase): GpuCase => ({
    name: `a plan of ${kvCase.why}`,
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const inputs = drawKvCache(kvCase);
        const { args } = placeKvCache(device, kvCase, inputs);
        const plan = planAttnWithKvCache(runtime, { ...args, returnLse: true });
        const { q } = args;
        const queries = q.shape.slice(0, -2);
        const lseShape = kvCase.ragged ? [4, ...queries] : [queries[0]!, 4, queries[1]!];
        const out = runtime.createTensor(q.shape, 'f32');
        const lse = runtime.createTensor(lseShape, 'f32');
        plan.record({ out, lse });
        compareKvCache(kvCase, inputs, {
          out: await download(device, out),
          lse: await download(device, lse),
          kCache: await download(device, args.kCache),
          vCache: await download(device, args.vCache),
        });
        plan.destroy();
      }),
  })),
];
