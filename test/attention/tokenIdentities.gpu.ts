import { elementCount, type Tensor } from '../../src/core/tensor.js';
import {
  attnWithKvCache,
  planAttnWithKvCache,
  type AttentionResult,
  type AttnWithKvCacheArgs,
  type Runtime,
} from '../../src/index.js';
import { download, upload } from '../../tools/deviceTensor.js';
import { Random } from '../../tools/random.js';
import { assert, assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import { sharedRuntime } from '../platforms/withRuntime.js';
import { checkSame } from '../reference/tolerance.js';

// Calls with and without positions and trees of query tokens that must give the same result.

const [N_HEADS, N_KV_HEADS, HEAD_DIM, CAPACITY] = [2, 1, 32, 300];
const N_POSITIONS = 310;

/** Tokens of one sequence after a prompt, and what they are rotated by. */
class Speculation {
  readonly #runtime: Runtime;
  readonly #random = new Random(3);
  readonly #prompt: readonly [Float32Array, Float32Array];
  readonly #angles = this.#random.uniforms((N_POSITIONS * HEAD_DIM) / 2, -3, 3);

  constructor(
    runtime: Runtime,
    readonly cached: number,
    readonly nTokens: number,
  ) {
    this.#runtime = runtime;
    const prompt = () => this.#random.normals(CAPACITY * N_KV_HEADS * HEAD_DIM);
    this.#prompt = [prompt(), prompt()];
  }

  readonly #rows = new Map<string, Float32Array>();

  /** Rows of q, k or v of some of the tokens, which are the same in every call. */
  #tokens(name: 'q' | 'k' | 'v', tokens: readonly number[]): Tensor {
    const nHeads = name === 'q' ? N_HEADS : N_KV_HEADS;
    const row = nHeads * HEAD_DIM;
    let all = this.#rows.get(name);
    if (!all) this.#rows.set(name, (all = this.#random.normals(64 * row)));
    const data = new Float32Array(tokens.length * row);
    tokens.forEach((token, i) => data.set(all.subarray(token * row, (token + 1) * row), i * row));
    return upload(this.#runtime.device, 'f32', [1, tokens.length, nHeads, HEAD_DIM], data);
  }

  /** Arguments of a call that appends some of the tokens to the prompt. */
  args(tokens: readonly number[], options: Partial<AttnWithKvCacheArgs>): AttnWithKvCacheArgs {
    const { device } = this.#runtime;
    const cache = (data: Float32Array): Tensor =>
      upload(device, 'f32', [1, CAPACITY, N_KV_HEADS, HEAD_DIM], data);
    return {
      q: this.#tokens('q', tokens),
      k: this.#tokens('k', tokens),
      v: this.#tokens('v', tokens),
      kCache: cache(this.#prompt[0]),
      vCache: cache(this.#prompt[1]),
      cacheSeqlens: [this.cached],
      rotaryCos: this.#angles.map(Math.cos),
      rotarySin: this.#angles.map(Math.sin),
      rotaryInterleaved: false,
      ...options,
    };
  }

  async answer(
    tokens: readonly number[],
    options: Partial<AttnWithKvCacheArgs>,
    call: (args: AttnWithKvCacheArgs) => AttentionResult = (args) => attnWithKvCache(this.#runtime, args),
  ): Promise<Answer> {
    const args = this.args(tokens, options);
    const { out, lse } = call({ ...args, returnLse: true });
    const { device } = this.#runtime;
    const answer = {
      out: await download(device, out),
      lse: await download(device, lse!),
      kCache: await download(device, args.kCache),
    };
    for (const { buffer } of [args.q, args.k!, args.v!, args.kCache, args.vCache, out, lse!])
      buffer.destroy();
    return answer;
  }
}

interface Answer {
  readonly out: Float32Array;
  readonly lse: Float32Array;
  readonly kCache: Float32Array;
}

const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** Token i sees those before it, and itself. */
const chain = (n: number): number[] => upTo(n).map((i) => 2 ** (i + 1) - 1);

function expectBits(actual: Answer, expected: Answer): void {
  for (const name of ['out', 'lse', 'kCache'] as const)
    checkSame(name, { actual: actual[name], reference: expected[name] });
}

function near(actual: ArrayLike<number>, expected: ArrayLike<number>): void {
  assertEqual(actual.length, expected.length);
  for (let i = 0; i < actual.length; i++)
    assert(Math.abs(actual[i]! - expected[i]!) < 2e-6, `${actual[i]} is not ${expected[i]}`);
}

function identity(name: string, run: (runtime: Runtime) => Promise<void>): GpuCase {
  return { name, run: async (t) => run(sharedRuntime(await t.device('full'))) };
}

export const cases: readonly GpuCase[] = [
  ...[3, 30].flatMap((n) =>
    [1, 3].map((numSplits) =>
      identity(
        `${n} tokens at their own positions give the same bits, in ${numSplits} chunks`,
        async (runtime) => {
          const tokens = new Speculation(runtime, 200, n);
          for (const windowSize of [
            [-1, -1],
            [50, -1],
            [120, 0],
          ] as const)
            for (const attentionChunk of [0, 90]) {
              const options = { causal: true, windowSize, attentionChunk, numSplits };
              const without = await tokens.answer(upTo(n), options);
              const positions = upTo(n).map((i) => 200 + i);
              expectBits(await tokens.answer(upTo(n), { ...options, positions }), without);
            }
        },
      ),
    ),
  ),
  identity('a tree that is a chain is causal order', async (runtime) => {
    const n = 20;
    const tokens = new Speculation(runtime, 200, n);
    const causal = await tokens.answer(upTo(n), { causal: true });
    const positions = upTo(n).map((i) => 200 + i);
    for (const options of [{ causal: true }, { causal: false, positions }]) {
      const { out, lse } = await tokens.answer(upTo(n), { ...options, treeMask: chain(n) });
      near(out, causal.out);
      near(lse, causal.lse);
    }
  }),
  identity('the branches of a tree are what each of them is alone', async (runtime) => {
    //      ┌ 1 ─ 3 ─ 5
    //    0 ┤    └ 4
    //      └ 2 ─ 6
    const parents = [-1, 0, 0, 1, 1, 3, 2];
    const ancestors = (token: number): number[] => (token < 0 ? [] : [...ancestors(parents[token]!), token]);
    const n = parents.length;
    const tokens = new Speculation(runtime, 150, n);
    const treeMask = upTo(n).map((i) => ancestors(i).reduce((bits, t) => bits | (1 << t), 0));
    const positions = upTo(n).map((i) => 150 + ancestors(i).length - 1);
    for (const options of [
      {},
      { causal: true, windowSize: [20, -1] as const },
      { attentionChunk: 151, alibiSlopes: [0.1, 0.02] },
    ]) {
      const tree = await tokens.answer(upTo(n), { ...options, treeMask, positions });
      for (const leaf of [4, 5, 6]) {
        const branch = ancestors(leaf);
        const alone = await tokens.answer(branch, { ...options, causal: true });
        branch.forEach((token, i) => {
          const row = N_HEADS * HEAD_DIM;
          near(tree.out.subarray(token * row, (token + 1) * row), alone.out.subarray(i * row, (i + 1) * row));
          for (let head = 0; head < N_HEADS; head++)
            near([tree.lse[head * n + token]!], [alone.lse[head * branch.length + i]!]);
        });
      }
    }
  }),
  identity('three equal positions turn as one does', async (runtime) => {
    const tokens = new Speculation(runtime, 100, 9);
    const positions = upTo(9).map((i) => 90 + 3 * i);
    const one = await tokens.answer(upTo(9), { positions, causal: true });
    for (const rotarySectionsInterleaved of [false, true]) {
      const three = await tokens.answer(upTo(9), {
        positions: [...positions, ...positions, ...positions],
        rotarySections: [6, 5, 5],
        rotarySectionsInterleaved,
        causal: true,
      });
      expectBits(three, one);
    }
  }),
  identity('a plan takes other positions and another tree in each step', async (runtime) => {
    const n = 6;
    const tokens = new Speculation(runtime, 100, n);
    const { device } = runtime;
    const random = new Random(8);
    const draw = () => ({
      positions: Int32Array.from(upTo(n), () => 100 + random.int(0, n)),
      treeMask: Uint32Array.from(upTo(n), (i) => random.int(0, 2 ** n) | (1 << i)),
    });
    const options = { windowSize: [40, -1], causal: true, numSplits: 1 } as const;
    const first = draw();
    const planned = tokens.args(upTo(n), { ...options, ...first });
    const out = upload(device, 'f32', planned.q.shape, new Float32Array(elementCount(planned.q.shape)));
    const lse = upload(device, 'f32', [1, N_HEADS, n], new Float32Array(N_HEADS * n));
    const plan = planAttnWithKvCache(runtime, { ...planned, out, lse });
    for (let step = 0; step < 4; step++) {
      const given = step === 0 ? first : draw();
      // In turns on the host and on the GPU; the last step takes the tree away.
      const onGpu = step === 2;
      const lent = onGpu
        ? {
            positions: upload(device, 'i32', [1, n], given.positions),
            treeMask: upload(device, 'u32', [1, n, 1], given.treeMask),
          }
        : given;
      if (step > 0) plan.update(step === 3 ? { positions: given.positions, treeMask: undefined } : lent);
      const { q, k, v, kCache, vCache } = planned;
      plan.record({ q, k: k!, v: v!, kCache, vCache });
      const got = { out: await download(device, out), lse: await download(device, lse) };
      const alone = await tokens.answer(upTo(n), {
        ...options,
        ...(step === 3 ? { positions: given.positions } : given),
      });
      checkSame('out', { actual: got.out, reference: alone.out });
      checkSame('lse', { actual: got.lse, reference: alone.lse });
    }
    plan.destroy();
  }),
];
