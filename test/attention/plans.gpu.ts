import {
  attnVarlen,
  attnWithKvCache,
  planAttnVarlen,
  planAttnWithKvCache,
  type AttnWithKvCacheArgs,
  type Tensor,
} from '../../src/index.js';
import { countCalls } from '../../tools/countCalls.js';
import { download, upload } from '../../tools/deviceTensor.js';
import { assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import { Random } from '../../tools/random.js';
import { runningSum } from './caseInputs.js';
import { withGetters } from './planInputs.js';
import { withRuntime } from '../platforms/withRuntime.js';

const HEADS = { q: 2, kv: 1, dim: 32 };
const N_PAGES = 40;
const PAGE_SIZE = 4;
const WIDTH = 10;

/** A step of sequences, as `BlockAllocator.batch` describes it. */
function batchOf(sequences: readonly (readonly [cached: number, fresh: number])[]) {
  const cuSeqlensQ = runningSum(sequences.map(([, fresh]) => fresh));
  const sequsedK = Int32Array.from(sequences, ([cached, fresh]) => cached + fresh);
  return {
    nSequences: sequences.length,
    nNewTokens: cuSeqlensQ.at(-1)!,
    blockTable: Int32Array.from({ length: sequences.length * WIDTH }, (_, i) => N_PAGES - 1 - i),
    tableWidth: WIDTH,
    cacheSeqlens: Int32Array.from(sequences, ([cached]) => cached),
    sequsedK,
    cuSeqlensQ,
    cuSeqlensKNew: cuSeqlensQ,
    cacheBatchIdx: undefined,
    tokenPositions: new Int32Array(cuSeqlensQ.at(-1)!),
    slotMapping: new Int32Array(cuSeqlensQ.at(-1)!),
    maxSeqlenQ: Math.max(...sequences.map(([, fresh]) => fresh)),
    maxSeqlenK: Math.max(...sequsedK),
  };
}

type Batch = ReturnType<typeof batchOf>;

/** The same step with the fields that a planner adds. */
const stepOf = (batch: Batch) => ({
  ...batch,
  sequences: Int32Array.of(1, 2),
  tokens: new Int32Array(batch.nNewTokens),
  sampled: Int32Array.of(1),
  sampledRows: Int32Array.of(0),
  swapsOut: [],
  copies: [],
  swapsIn: [],
});

const fieldsOf = ({ cacheSeqlens, cuSeqlensQ, blockTable }: Batch) => ({
  cacheSeqlens: cacheSeqlens.slice(),
  cuSeqlensQ: cuSeqlensQ.slice(),
  cuSeqlensKNew: cuSeqlensQ.slice(),
  blockTable: blockTable.slice(),
  cacheBatchIdx: undefined,
});

/** Tensors of n new tokens, or of padding. */
function freshTensors(device: GPUDevice, nTokens: number, seed: number) {
  const random = new Random(seed);
  const tokens = (nHeads: number): Tensor =>
    upload(device, 'f32', [nTokens, nHeads, HEADS.dim], random.normals(nTokens * nHeads * HEADS.dim));
  return { q: tokens(HEADS.q), k: tokens(HEADS.kv), v: tokens(HEADS.kv), out: tokens(HEADS.q) };
}

function caches(device: GPUDevice, seed = 1): Pick<AttnWithKvCacheArgs, 'kCache' | 'vCache'> {
  const random = new Random(seed);
  const shape = [N_PAGES, PAGE_SIZE, HEADS.kv, HEADS.dim];
  const pages = (): Tensor =>
    upload(device, 'f32', shape, random.normals(N_PAGES * PAGE_SIZE * HEADS.kv * HEADS.dim));
  return { kCache: pages(), vCache: pages() };
}

const MOST_TOKENS = 4;

const STEPS = [
  [
    [5, 1],
    [18, 3],
  ],
  [
    [6, 1],
    [21, 1],
  ],
  [
    [7, 2],
    [22, 1],
  ],
] as const;

export const cases: GpuCase[] = [
  {
    name: 'plans and calls take whole batches and steps, spread or not',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        /** The results of all steps, each planned in one way, and of a call after them. */
        const run = async (giveOf: (batch: Batch) => object): Promise<Float32Array[]> => {
          const always = { ...caches(device), causal: true };
          const tensors = STEPS.map((_, i) => freshTensors(device, MOST_TOKENS, 10 + i));
          const first = { ...tensors[0]!, ...always, ...fieldsOf(batchOf(STEPS[0])) };
          const plan = planAttnWithKvCache(runtime, { ...first, cacheBatchIdx: [1, 0] });
          const outs = STEPS.map((step, i) => {
            const batch = batchOf(step);
            plan.update(giveOf(batch) as Batch);
            // The next step is described in the same arrays.
            for (const list of Object.values(batch)) if (list instanceof Int32Array) list.fill(-7);
            return plan.record({ ...tensors[i]! }).out;
          });
          const batch = batchOf(STEPS[2]);
          const { q } = tensors[2]!;
          const call = { q, ...always, ...giveOf(batch), cacheSeqlens: batch.sequsedK };
          outs.push(attnWithKvCache(runtime, call).out);
          return Promise.all(outs.map((out) => download(device, out)));
        };
        const want = await run((batch) => fieldsOf(batch));
        assertEqual(await run((batch) => batch), want, 'a batch');
        assertEqual(await run((batch) => ({ ...batch })), want, 'a batch that is spread');
        assertEqual(await run((batch) => stepOf(batch)), want, 'a step');
        const { q, k, v } = freshTensors(device, 4, 3);
        const { kCache, vCache } = caches(device);
        const batch = batchOf(STEPS[0]);
        const { out } = attnWithKvCache(runtime, {
          q,
          k,
          v,
          kCache,
          vCache,
          ...fieldsOf(batch),
          causal: true,
        });
        const whole = withGetters({ ...stepOf(batch), q, k: kCache, v: vCache, causal: true });
        const varlen = attnVarlen(runtime, whole).out;
        assertEqual(await download(device, varlen), await download(device, out), 'attnVarlen of a step');
        const planned = planAttnVarlen(runtime, whole).record({ out: freshTensors(device, 4, 4).out }).out;
        assertEqual(await download(device, planned), await download(device, out), 'a plan of a step');
      }),
  },
  {
    name: 'a planned layer is bound by what its tensors say, not by which objects they are',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const batch = batchOf([[0, 2]]);
        const cache = caches(device);
        const [first, second] = [freshTensors(device, 2, 5), freshTensors(device, 2, 6)];
        const args = { ...cache, ...batch, causal: true };
        const want = await Promise.all(
          [first, second].map(async (tensors) =>
            download(device, attnWithKvCache(runtime, { ...args, ...tensors }).out),
          ),
        );
        const plan = planAttnWithKvCache(runtime, { ...args, ...first });
        const layer = { ...first, q: { ...first.q }, out: { ...freshTensors(device, 2, 7).out } };
        plan.record(layer);
        assertEqual(await download(device, layer.out), want[0]!, 'the first layer');
        Object.assign(layer.q, second.q);
        Object.assign(layer.out, { buffer: freshTensors(device, 2, 8).out.buffer });
        plan.record({ ...layer, k: second.k, v: second.v });
        assertEqual(await download(device, layer.out), want[1]!, 'other buffers in the same objects');
        const again = countCalls(device, () => {
          plan.record({ ...layer, q: { ...second.q, shape: [2, 2, 32] }, k: { ...second.k }, v: second.v });
        });
        assertEqual(again.createBindGroup, 0, 'bind groups of the same views');
        plan.destroy();
      }),
  },
  {
    name: 'what is recorded into a pass keeps the lengths that it was called with',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const tensors = freshTensors(device, 2, 9);
        const cache = caches(device);
        const sinks = Float32Array.of(0.5, -0.5);
        const call = (batch: Batch, pass?: GPUComputePassEncoder): Tensor =>
          attnWithKvCache(runtime, {
            ...tensors,
            ...cache,
            ...batch,
            sinks,
            causal: true,
            out: freshTensors(device, 2, 4).out,
            ...(pass && { pass }),
          }).out;
        const sequences = [[9, 2]] as const;
        const want = await download(device, call(batchOf(sequences)));
        const encoder = device.createCommandEncoder();
        const pass = encoder.beginComputePass();
        const batch = batchOf(sequences);
        const out = call(batch, pass);
        for (const list of [batch.cacheSeqlens, batch.cuSeqlensQ, batch.blockTable]) list.fill(0);
        sinks.fill(0);
        call(batchOf([[3, 2]]), pass);
        pass.end();
        device.queue.submit([encoder.finish()]);
        assertEqual(await download(device, out), want, 'out');
      }),
  },
  {
    name: 'lengths, slopes and sinks on the GPU are read as they are when a step, or a pass, begins',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const { queue } = device;
        const { buffer, dtype } = freshTensors(device, 2, 9).q;
        const layers = [1, 2, 3].map((seed) => caches(device, seed));
        const { blockTable } = batchOf([
          [0, 1],
          [0, 1],
        ]);
        /** Keys of two sequences, and a slope and a sink for each head: of one step, and of the next. */
        const states = [
          { lengths: [9, 30], slopes: [0.5, 0.25], sinks: [1, -1] },
          { lengths: [38, 2], slopes: [0.125, 0], sinks: [-2, 0.5] },
        ] as const;
        const onGpu = {
          lengths: upload(device, 'i32', [2], states[0].lengths),
          slopes: upload(device, 'f32', [2], states[0].slopes),
          sinks: upload(device, 'f32', [2], states[0].sinks),
        };
        const next = {
          lengths: upload(device, 'i32', [2], states[1].lengths),
          slopes: upload(device, 'f32', [2], states[1].slopes),
          sinks: upload(device, 'f32', [2], states[1].sinks),
        };
        const write = ({ lengths, slopes, sinks }: (typeof states)[number]): void => {
          queue.writeBuffer(onGpu.lengths.buffer, 0, Int32Array.from(lengths));
          queue.writeBuffer(onGpu.slopes.buffer, 0, Float32Array.from(slopes));
          queue.writeBuffer(onGpu.sinks.buffer, 0, Float32Array.from(sinks));
        };
        const always = {
          q: { buffer, dtype, shape: [2, 1, 2, 32] },
          ...layers[0]!,
          blockTable,
          causal: true,
        };
        const want = states.map(({ lengths, slopes, sinks }) =>
          layers.map((layer) =>
            attnWithKvCache(runtime, {
              ...always,
              ...layer,
              cacheSeqlens: lengths,
              alibiSlopes: slopes,
              sinks,
            }),
          ),
        );
        const plan = planAttnWithKvCache(runtime, {
          ...always,
          cacheSeqlens: onGpu.lengths,
          alibiSlopes: onGpu.slopes,
          sinks: onGpu.sinks,
        });
        const outs = () => layers.map(() => upload(device, 'f32', [2, 1, 2, 32], new Float32Array(128)));
        const record = (pass: GPUComputePassEncoder, into: readonly Tensor[]): void =>
          layers.forEach((layer, i) => plan.record({ ...layer, out: into[i], pass }));
        const check = async (got: readonly Tensor[], state: 0 | 1, what: string): Promise<void> => {
          for (const [i, out] of got.entries())
            assertEqual(
              await download(device, out),
              await download(device, want[state]![i]!.out),
              `layer ${i} ${what}`,
            );
        };
        /** Two passes of one encoder, with something in between. */
        const inTwoPasses = (between: (encoder: GPUCommandEncoder) => void) => {
          const encoder = device.createCommandEncoder();
          const results = [outs(), outs()] as const;
          for (const [i, result] of results.entries()) {
            if (i > 0) between(encoder);
            const pass = encoder.beginComputePass();
            record(pass, result);
            pass.end();
          }
          queue.submit([encoder.finish()]);
          return results;
        };
        const [before, after] = inTwoPasses((encoder) => {
          for (const name of ['lengths', 'slopes', 'sinks'] as const)
            encoder.copyBufferToBuffer(next[name].buffer, 0, onGpu[name].buffer, 0, 8);
        });
        await check(before, 0, 'of the first pass');
        await check(after, 1, 'of a pass after the GPU has changed them');
        write(states[0]);
        plan.update({ cacheSeqlens: onGpu.lengths });
        const [again] = inTwoPasses(() => {});
        await check(again, 0, 'of a step that begins with the same tensor');
        write(states[1]);
        const alone = outs();
        layers.forEach((layer, i) => plan.record({ ...layer, out: alone[i] }));
        await check(alone, 1, 'that has a pass of its own');
        plan.destroy();
      }),
  },
  {
    name: 'rows behind the end of cuSeqlensQ stay as they are, and are zeros where out and lse are new',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        // A token, a few, and a prompt; then the same in chunks. Five rows more are padding.
        for (const numSplits of [1, 2]) {
          const batch = batchOf([
            [30, 1],
            [20, 3],
            [0, 20],
          ]);
          const rows = batch.nNewTokens + 5;
          const { q, out } = freshTensors(device, rows, 11);
          const lse = upload(device, 'f32', [HEADS.q, rows], new Float32Array(HEADS.q * rows).fill(7));
          const before = await download(device, out);
          const { kCache, vCache } = caches(device);
          const args = { q, k: kCache, v: vCache, ...batch, numSplits };
          attnVarlen(runtime, { ...args, out, lse });
          const made = attnVarlen(runtime, { ...args, returnLse: true });
          const end = batch.nNewTokens * HEADS.q * HEADS.dim;
          const [outs, lses] = await Promise.all(
            [
              [out, made.out],
              [lse, made.lse!],
            ].map((pair) => Promise.all(pair.map((tensor) => download(device, tensor)))),
          );
          assertEqual(outs![0]!.subarray(end), before.subarray(end), 'padding of out');
          assertEqual(
            outs![1]!.subarray(end),
            new Float32Array(5 * HEADS.q * HEADS.dim),
            'padding of a new out',
          );
          assertEqual(outs![0]!.subarray(0, end), outs![1]!.subarray(0, end), 'rows of sequences');
          for (let head = 0; head < HEADS.q; head++) {
            const padding = [head * rows + batch.nNewTokens, (head + 1) * rows] as const;
            assertEqual(lses![0]!.subarray(...padding), new Float32Array(5).fill(7), 'padding of lse');
            assertEqual(lses![1]!.subarray(...padding), new Float32Array(5), 'padding of a new lse');
          }
        }
      }),
  },
];
