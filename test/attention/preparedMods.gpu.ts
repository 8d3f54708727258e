import {
  attnVariants,
  attnVarlen,
  attnWeights,
  attnWithKvCache,
  PageflashError,
  planAttnVarlen,
  prepareModel,
  type Runtime,
  type ScoreMod,
} from '../../src/index.js';
import { attnVarlenReference, type HostTensor } from '../../src/reference/attention.js';
import { countCalls } from '../../tools/countCalls.js';
import { download, upload } from '../../tools/deviceTensor.js';
import { Random } from '../../tools/random.js';
import { assert, assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import { withRuntime } from '../platforms/withRuntime.js';
import { checkOut } from '../reference/tolerance.js';

// When mods are compiled, and what becomes of those that cannot be.

const SCORE = 'fn score_mod(score: f32, b: u32, h: u32, q: i32, k: i32) -> f32';

const FAR: ScoreMod = {
  name: 'far',
  code: `${SCORE} {\n  return score - mod_params[0] * f32(q - k);\n}`,
  params: [0.1],
};

const BROKEN: ScoreMod = {
  name: 'broken',
  code: `const slope = 0.5;\n\n${SCORE} {\n  return score - slop * f32(q - k); // no such name\n}`,
};

/** Two sequences of 5 and 9 tokens. */
const LENGTHS = [0, 5, 14];

interface Call {
  readonly args: Parameters<typeof attnVarlen>[1];
  /** What `out` is with a slope. */
  readonly expect: (out: Float32Array, slope: number) => void;
}

function callOn({ device }: Runtime): Call {
  const random = new Random(3);
  const rows = (heads: number): HostTensor => ({
    shape: [14, heads, 32],
    data: random.normals(14 * heads * 32),
  });
  const [q, k, v] = [rows(4), rows(2), rows(2)];
  const place = ({ shape, data }: HostTensor) => upload(device, 'f32', shape, data);
  const options = { cuSeqlensQ: LENGTHS, cuSeqlensK: LENGTHS, causal: true };
  return {
    args: { ...options, q: place(q), k: place(k), v: place(v) },
    expect(out, slope) {
      const scoreMod = (score: number, _b: number, _h: number, query: number, key: number) =>
        score - slope * (query - key);
      const want = attnVarlenReference({ ...options, q, k, v, scoreMod });
      checkOut({ actual: out, reference: want.out.data, dtype: 'f32' });
    },
  };
}

/** The message of the error that is thrown. */
function thrownBy(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert(error instanceof PageflashError, String(error));
    return error.message;
  }
  throw new Error('Nothing was thrown.');
}

async function rejectionOf(promise: Promise<unknown>): Promise<PageflashError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert(error instanceof PageflashError, `it rejected with ${String(error)}`);
  return error;
}

/** What is said of `BROKEN`, whatever a compiler's words are. */
function assertNamesLine({ code, message }: PageflashError): void {
  assertEqual(code, 'compile');
  assert(message.includes('scoreMod "broken"'), message);
  assert(message.includes('line 4:'), message);
  assert(message.includes('return score - slop * f32(q - k); // no such name'), message);
  assert(!message.includes('_of_score_mod'), message);
}

/** Records into a pass, submits it and waits. */
async function inPass<T>({ device }: Runtime, record: (pass: GPUComputePassEncoder) => T): Promise<T> {
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  const result = record(pass);
  pass.end();
  device.queue.submit([encoder.finish()]);
  await device.queue.onSubmittedWorkDone();
  return result;
}

const VARIANTS = { headDim: 32, dtype: 'f32', group: 2, decodeTokens: 8 } as const;

export const cases: GpuCase[] = [
  {
    name: 'a mod is prepared, then recorded into passes, with other parameters without another kernel',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { args, expect } = callOn(runtime);
        const refused = await inPass(runtime, (pass) =>
          thrownBy(() => attnVarlen(runtime, { ...args, scoreMod: FAR, pass })),
        );
        assert(refused.startsWith('attnVarlen: scoreMod "far" must be prepared'), refused);
        await runtime.prepare(attnVariants(runtime, { ...VARIANTS, scoreMod: FAR }), { warmUp: true });
        for (const slope of [0.1, -2]) {
          const counts: Record<string, number> = {};
          const { out } = await inPass(runtime, (pass) => {
            let result;
            Object.assign(
              counts,
              countCalls(runtime.device, () => {
                result = attnVarlen(runtime, { ...args, scoreMod: { ...FAR, params: [slope] }, pass });
              }),
            );
            return result!;
          });
          assertEqual(counts['createComputePipeline'], 0, 'compiled by a call');
          expect(await download(runtime.device, out), slope);
        }
        await runtime.done();
      }),
  },
  {
    name: 'a plan takes other parameters without planning again, and records into a pass once its mod is known to be right',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const { args, expect } = callOn(runtime);
        const plan = planAttnVarlen(runtime, { ...args, scoreMod: FAR });
        const out = upload(device, 'f32', [14, 4, 32], new Float32Array(14 * 4 * 32));
        const refused = await inPass(runtime, (pass) => thrownBy(() => plan.record({ out, pass })));
        assert(refused.startsWith('planAttnVarlen.record: scoreMod "far" must be prepared'), refused);
        await runtime.done();
        const params = [0.1];
        for (const slope of [0.1, 1, 1.5]) {
          params[0] = slope;
          const counts = countCalls(device, () => plan.update({ scoreMod: { ...FAR, params } }));
          if (slope === 1.5) assertEqual(counts.writeBuffer, 1, 'writes of an update');
          assertEqual(counts.createBuffer + counts.createBindGroup, 0, 'made by an update');
          await inPass(runtime, (pass) => plan.record({ out, pass }));
          expect(await download(device, out), slope);
        }
        plan.destroy();
      }),
  },
  {
    name: 'prepare rejects with the line of a mod',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const variants = attnVariants(runtime, { ...VARIANTS, scoreMod: BROKEN });
        assertNamesLine(await rejectionOf(runtime.prepare(variants)));
        assertNamesLine(
          await rejectionOf(
            prepareModel(runtime, {
              nHeads: 4,
              nKvHeads: 2,
              headDim: 32,
              dtype: 'f32',
              paged: false,
              maxTokens: 1,
              scoreMod: BROKEN,
            }),
          ),
        );
        // The name is free for the code that is right.
        const { args, expect } = callOn(runtime);
        const right = { name: 'broken', code: BROKEN.code.replace('slop *', 'slope *') };
        await runtime.prepare(attnVariants(runtime, { ...VARIANTS, scoreMod: right }));
        expect(await download(runtime.device, attnVarlen(runtime, { ...args, scoreMod: right }).out), 0.5);
      }),
  },
  {
    name: 'a mod that was not prepared fails in done, and nothing is written',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const zeros = (shape: readonly number[]) =>
          upload(device, 'f32', shape, new Float32Array(shape.reduce((a, b) => a * b)));
        const ones = (shape: readonly number[]) =>
          upload(device, 'f32', shape, new Float32Array(shape.reduce((a, b) => a * b)).fill(1));
        const kCache = zeros([1, 8, 2, 32]);
        const vCache = zeros([1, 8, 2, 32]);
        const { out } = attnWithKvCache(runtime, {
          q: ones([1, 1, 4, 32]),
          k: ones([1, 1, 2, 32]),
          v: ones([1, 1, 2, 32]),
          kCache,
          vCache,
          cacheSeqlens: [3],
          scoreMod: BROKEN,
        });
        assertNamesLine(await rejectionOf(runtime.done()));
        for (const tensor of [kCache, vCache, out]) {
          const numbers = await download(device, tensor);
          assert(
            numbers.every((x) => x === 0),
            'something was written',
          );
        }
        const { args } = callOn(runtime);
        await runtime.done();
        attnVarlen(runtime, args);
        await runtime.done();
      }),
  },
  {
    name: 'one name stands for one code',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { args } = callOn(runtime);
        const other = { ...FAR, code: `${FAR.code}\n` };
        attnVarlen(runtime, { ...args, scoreMod: FAR });
        const message = thrownBy(() => attnVarlen(runtime, { ...args, scoreMod: other }));
        assert(message.startsWith('attnVarlen: scoreMod "far" has another code'), message);
        await runtime.done();
        const both = ['one', 'other'].map((comment) => ({ name: 'new', code: `${FAR.code} // ${comment}` }));
        const variants = both.flatMap((scoreMod) => attnVariants(runtime, { ...VARIANTS, scoreMod }));
        const error = await rejectionOf(runtime.prepare(variants));
        assert(error.message.includes('scoreMod "new" has two codes'), error.message);
        // Those of a kind are apart from those of the other.
        const maskMod = {
          name: 'far',
          code: 'fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool { return q - k < 3; }',
        };
        const { lse } = attnVarlen(runtime, { ...args, maskMod, returnLse: true });
        attnWeights(runtime, { ...args, maskMod, lse, rows: [0] });
        await runtime.done();
      }),
  },
];
