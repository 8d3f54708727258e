import {
  attn,
  attnVarlen,
  attnWithKvCache,
  mergeStates,
  planAttnVarlen,
  planAttnWithKvCache,
  type AttentionPlan,
  type AttnWithKvCacheArgs,
  type Runtime,
  type Tensor,
} from '../../src/index.js';
import { downloadBuffer, upload } from '../../tools/deviceTensor.js';
import { assert, assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import { drawKvCache, intoPages, placeKvCache, SMALL_DECODE, type KvCacheCase } from './kvCacheCase.js';
import { Random } from '../../tools/random.js';
import { draw, place, SMALL_VARLEN, type VarlenCase } from './varlenCase.js';
import { withRuntime } from '../platforms/withRuntime.js';

const N_RUNS = 100;

const DENSE: VarlenCase = {
  ...SMALL_VARLEN,
  why: 'dense',
  dtype: 'f16',
  lengths: [
    [24, 40],
    [24, 40],
  ],
};

const DECODE: KvCacheCase = { ...SMALL_DECODE, numSplits: 3 };

type Out = { readonly out: Tensor; readonly lse: Tensor };

/** A call, ready to be made again and again. `run` writes to the tensors that it is given. */
interface Repeated {
  /** Of out and of lse. */
  readonly shapes: readonly [out: readonly number[], lse: readonly number[]];
  readonly dtype?: 'f32' | 'f16';
  run(outputs: Out): void;
}

const REPEATED: Readonly<Record<string, (runtime: Runtime) => Repeated>> = {
  attnVarlen: (runtime) => {
    const { args } = place(runtime.device, SMALL_VARLEN, draw(SMALL_VARLEN));
    return { shapes: shapesOf(args.q), run: (outputs) => void attnVarlen(runtime, { ...args, ...outputs }) };
  },
  'attnVarlen over split keys': (runtime) => {
    const varlen: VarlenCase = { ...SMALL_VARLEN, numSplits: 2 };
    const { args } = place(runtime.device, varlen, draw(varlen));
    return { shapes: shapesOf(args.q), run: (outputs) => void attnVarlen(runtime, { ...args, ...outputs }) };
  },
  'attn in f16': (runtime) => {
    const { args } = place(runtime.device, DENSE, draw(DENSE));
    const dense = ({ shape, ...tensor }: Tensor): Tensor => ({
      buffer: tensor.buffer,
      dtype: tensor.dtype,
      shape: [2, shape[0]! / 2, ...shape.slice(1)],
    });
    const { q, k, v, causal } = args;
    const inputs = { q: dense(q), k: dense(k), v: dense(v), causal };
    return {
      shapes: shapesOf(inputs.q),
      dtype: 'f16',
      run: (outputs) => void attn(runtime, { ...inputs, ...outputs }),
    };
  },
  'attnWithKvCache over split pages': (runtime) => {
    const { args } = placeKvCache(runtime.device, DECODE, intoPages(drawKvCache(DECODE), 16));
    return {
      shapes: shapesOf(args.q),
      run: (outputs) => void attnWithKvCache(runtime, { ...args, ...outputs }),
    };
  },
  mergeStates: (runtime) => {
    const random = new Random(3);
    const parts = Array.from({ length: 5 }, () => ({
      out: upload(runtime.device, 'f32', [8, 4, 64], random.normals(8 * 4 * 64)),
      lse: upload(runtime.device, 'f32', [4, 8], random.normals(4 * 8)),
    }));
    return {
      shapes: shapesOf(parts[0]!.out),
      run: (outputs) => void mergeStates(runtime, { parts, ...outputs }),
    };
  },
  planAttnVarlen: (runtime) => {
    const { args } = place(runtime.device, SMALL_VARLEN, draw(SMALL_VARLEN));
    const plan = planAttnVarlen(runtime, { ...args, returnLse: true });
    return { shapes: shapesOf(args.q), run: (outputs) => void plan.record(outputs) };
  },
  'planAttnWithKvCache, planned anew each time': (runtime) => {
    const { args } = placeKvCache(runtime.device, DECODE, intoPages(drawKvCache(DECODE), 16));
    const plan = planAttnWithKvCache(runtime, { ...args, returnLse: true });
    return {
      shapes: shapesOf(args.q),
      run: (outputs) => {
        // A different call in between, so that there is something to plan.
        plan.update({ cacheSeqlens: [7, 203, 1] });
        plan.update({ cacheSeqlens: args.cacheSeqlens });
        plan.record(outputs);
      },
    };
  },
};

/** The shapes of out and lse, by that of q. */
function shapesOf({ shape }: Tensor): Repeated['shapes'] {
  return [shape, [...shape.slice(0, -3), shape.at(-2)!, shape.at(-3)!]];
}

/** n tensors in one buffer, each where a binding can begin. */
function tensorsIn(device: GPUDevice, dtype: 'f32' | 'f16', shape: readonly number[]) {
  const size = shape.reduce((product, n) => product * n);
  const stride = Math.ceil(size / 128) * 128;
  const { buffer } = upload(device, dtype, [N_RUNS, stride], []);
  return {
    buffer,
    words: (dtype === 'f16' ? size / 2 : size) | 0,
    strideWords: dtype === 'f16' ? stride / 2 : stride,
    tensors: Array.from({ length: N_RUNS }, (_, i): Tensor => ({ buffer, dtype, shape, offset: i * stride })),
  };
}

/** Runs it a hundred times, each time to tensors of its own, and compares all results. */
async function checkRepeated(runtime: Runtime, { shapes, dtype = 'f32', run }: Repeated): Promise<void> {
  const { device } = runtime;
  const outs = tensorsIn(device, dtype, shapes[0]);
  const lses = tensorsIn(device, 'f32', shapes[1]);
  outs.tensors.forEach((out, i) => run({ out, lse: lses.tensors[i]! }));
  for (const [name, { buffer, words, strideWords }] of Object.entries({ out: outs, lse: lses })) {
    const all = new Uint32Array(await downloadBuffer(device, buffer));
    const first = all.subarray(0, words);
    assert(new Set(first).size > 8, `${name} was not computed`);
    for (let i = 1; i < N_RUNS; i++)
      assertEqual(all.subarray(i * strideWords, i * strideWords + words), first, `${name} of run ${i}`);
    buffer.destroy();
  }
}

const N_HEADS = 4;
const HEAD_DIM = 64;
const PAGE_SIZE = 16;
const PAGES_EACH = 16;

/** Sequences that have pages of their own, so that each is the same in every batch. */
const SEQUENCES = {
  token: { nQueries: 1, nKeys: 204 },
  prompt: { nQueries: 30, nKeys: 233 },
  drafts: { nQueries: 3, nKeys: 206 },
  short: { nQueries: 1, nKeys: 9 },
  chunk: { nQueries: 40, nKeys: 90 },
} as const;
type Name = keyof typeof SEQUENCES;
const NAMES = Object.keys(SEQUENCES) as Name[];

const BATCHES: readonly (readonly Name[])[] = [
  ['token', 'short'],
  ['short', 'token'],
  ['prompt', 'token', 'drafts'],
  ['chunk', 'prompt'],
  ['short', 'drafts', 'chunk', 'token', 'prompt', 'short'],
];

/** A pool with the keys of all sequences, and batches of some of them. */
class Neighbourhood {
  readonly #runtime: Runtime;
  readonly #kCache: Tensor;
  readonly #vCache: Tensor;
  readonly #numSplits: number;
  #plan: AttentionPlan<AttnWithKvCacheArgs> | undefined;

  constructor(runtime: Runtime, numSplits: number) {
    const random = new Random(5);
    const shape = [NAMES.length * PAGES_EACH, PAGE_SIZE, 1, HEAD_DIM];
    const pool = () =>
      upload(runtime.device, 'f32', shape, random.normals(shape.reduce((product, n) => product * n)));
    this.#runtime = runtime;
    this.#kCache = pool();
    this.#vCache = pool();
    this.#numSplits = numSplits;
  }

  /** The bits of out and lse of each sequence of a batch. */
  async attend(names: readonly Name[], how: 'call' | 'plan'): Promise<Map<Name, Uint32Array>> {
    const { device } = this.#runtime;
    const sequences = names.map((name) => SEQUENCES[name]);
    const queries = names.flatMap((name) => [
      ...new Random(NAMES.indexOf(name)).normals(SEQUENCES[name].nQueries * N_HEADS * HEAD_DIM),
    ]);
    const cuSeqlensQ = [0];
    for (const { nQueries } of sequences) cuSeqlensQ.push(cuSeqlensQ.at(-1)! + nQueries);
    const total = cuSeqlensQ.at(-1)!;
    const shape = [total, N_HEADS, HEAD_DIM];
    const args: AttnWithKvCacheArgs = {
      q: upload(device, 'f32', shape, queries),
      kCache: this.#kCache,
      vCache: this.#vCache,
      cuSeqlensQ,
      cacheSeqlens: sequences.map(({ nKeys }) => nKeys),
      blockTable: names.flatMap((name) =>
        Array.from({ length: PAGES_EACH }, (_, i) => NAMES.indexOf(name) * PAGES_EACH + i),
      ),
      causal: true,
      numSplits: this.#numSplits,
      returnLse: true,
    };
    const out = this.#runtime.createTensor(shape, 'f32');
    const lse = this.#runtime.createTensor([N_HEADS, total], 'f32');
    if (how === 'call') {
      attnWithKvCache(this.#runtime, { ...args, out, lse });
    } else {
      if (this.#plan) this.#plan.update(args);
      else this.#plan = planAttnWithKvCache(this.#runtime, args);
      this.#plan.record({ out, lse });
    }
    const outBits = new Uint32Array(await downloadBuffer(device, out.buffer));
    const lseBits = new Uint32Array(await downloadBuffer(device, lse.buffer));
    for (const { buffer } of [args.q, out, lse]) buffer.destroy();
    return new Map(
      names.map((name, b) => {
        const [first, end] = [cuSeqlensQ[b]!, cuSeqlensQ[b + 1]!];
        const row = N_HEADS * HEAD_DIM;
        const lses = Array.from({ length: N_HEADS }, (_, head) => [
          ...lseBits.subarray(head * total + first, head * total + end),
        ]).flat();
        return [name, Uint32Array.from([...outBits.subarray(first * row, end * row), ...lses])];
      }),
    );
  }

  destroy(): void {
    this.#plan?.destroy();
    for (const { buffer } of [this.#kCache, this.#vCache]) buffer.destroy();
  }
}

export const cases: GpuCase[] = [
  ...Object.entries(REPEATED).map(([name, prepare]): GpuCase => ({
    name: `the same input gives the same bits, a hundred times: ${name}`,
    run: (t) => withRuntime(t, (runtime) => checkRepeated(runtime, prepare(runtime))),
  })),
  ...[1, 3].map((numSplits): GpuCase => ({
    name: `with numSplits ${numSplits}, a sequence's bits depend on neither neighbours nor place, in a call or a plan`,
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const neighbourhood = new Neighbourhood(runtime, numSplits);
        const alone = new Map<Name, Uint32Array>();
        for (const name of NAMES) alone.set(name, (await neighbourhood.attend([name], 'call')).get(name)!);
        for (const how of ['call', 'plan'] as const)
          for (const names of BATCHES)
            for (const [name, bits] of await neighbourhood.attend(names, how))
              assertEqual(bits, alone.get(name)!, `${name} in a ${how} of ${names.join(', ')}`);
        neighbourhood.destroy();
      }),
  })),
];
