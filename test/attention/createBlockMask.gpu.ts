import {
  attn,
  createBlockMask,
  planAttnVarlen,
  type CreateBlockMaskArgs,
  type Tensor,
} from '../../src/index.js';
import { attnReference } from '../../src/reference/attention.js';
import { download, upload } from '../../tools/deviceTensor.js';
import { Random } from '../../tools/random.js';
import { assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import { withRuntime } from '../platforms/withRuntime.js';
import { checkLse, checkOut } from '../reference/tolerance.js';

// Block masks from a predicate and from a maskMod, and calls with them.

type Mask = NonNullable<CreateBlockMaskArgs['mask']>;

interface MaskCase {
  readonly why: string;
  readonly mask: Mask;
  readonly code: string;
  readonly sizes: Omit<CreateBlockMaskArgs, 'mask' | 'maskMod'>;
}

const MASKS: readonly MaskCase[] = [
  {
    why: 'causal',
    mask: (_b, _h, q, k) => k <= q,
    code: 'fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool { return k <= q; }',
    sizes: { seqlenQ: 300, seqlenK: 300 },
  },
  {
    why: 'causal at the end of more keys, small blocks',
    mask: (_b, _h, q, k) => k <= q,
    code: 'fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool { return k <= q; }',
    sizes: { seqlenQ: 70, seqlenK: 203, blockSize: [16, 24] },
  },
  {
    why: 'windows by head, and sequences that see nothing',
    mask: (b, h, q, k) => b !== 1 && Math.abs(q - k) <= 20 + 40 * h,
    code: `
const NEAR = 20; // keys on each side
fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool { return b != 1u && abs(q - k) <= NEAR + 40 * i32(h); }`,
    sizes: { batch: 2, nHeads: 4, seqlenQ: 130, seqlenK: 130, blockSize: [32, 32] },
  },
  {
    why: 'stripes within blocks',
    mask: (_b, h, q, k) => (q + k + h) % 50 < 30,
    code: 'fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool { return (q + k + i32(h)) % 50 < 30; }',
    sizes: { nHeads: 4, seqlenQ: 100, seqlenK: 120, blockSize: [40, 5] },
  },
  {
    why: 'no query',
    mask: () => true,
    code: 'fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool { return true; }',
    sizes: { seqlenQ: 0, seqlenK: 120 },
  },
];

const NAMES = ['kvNumBlocks', 'kvIndices', 'fullKvNumBlocks', 'fullKvIndices'] as const;

/** Bits of a mask for the queries of a call. */
function bitsOf(mask: Mask, batch: number, nHeads: number, sq: number, sk: number): Uint32Array {
  const width = Math.ceil(sk / 32);
  const bits = new Uint32Array(batch * nHeads * sq * width);
  for (let row = 0; row < batch * nHeads * sq; row++) {
    const [b, h, i] = [Math.floor(row / (nHeads * sq)), Math.floor(row / sq) % nHeads, row % sq];
    for (let k = 0; k < sk; k++)
      if (mask(b, h, i + sk - sq, k)) bits[row * width + (k >> 5)]! |= 1 << (k % 32);
  }
  return bits;
}

const created: readonly GpuCase[] = MASKS.map(({ why, mask, code, sizes }, index) => ({
  name: `${why}: from a maskMod, from a predicate`,
  run: (t) =>
    withRuntime(t, async (runtime) => {
      const { device } = runtime;
      const maskMod = { name: `mask ${index}`, code };
      const byMod = createBlockMask(runtime, { ...sizes, maskMod });
      const byPredicate = createBlockMask(runtime, { ...sizes, mask });
      for (const name of NAMES) {
        assertEqual(byMod[name].shape, byPredicate[name].shape, `the shape of ${name}`);
        assertEqual(await download(device, byMod[name]), await download(device, byPredicate[name]), name);
      }
      // Calls that use them see what the mask says.
      const random = new Random(index + 1);
      const { seqlenQ: sq, seqlenK: sk } = sizes;
      const normals = (shape: readonly number[]) => ({
        shape,
        data: random.normals(shape.reduce((a, n) => a * n)),
      });
      const [q, k, v] = [normals([2, sq, 4, 32]), normals([2, sk, 2, 32]), normals([2, sk, 2, 32])];
      const lent: Tensor[] = [q, k, v].map(({ shape, data }) => upload(device, 'f32', shape, data));
      const bits = bitsOf(mask, 2, 4, sq, sk);
      const words = upload(device, 'u32', [2, 4, sq, Math.ceil(sk / 32)], bits);
      const want = attnReference({
        q,
        k,
        v,
        mask: { shape: [2, 4, sq, Math.ceil(sk / 32)], data: bits },
      });
      const args = { q: lent[0]!, k: lent[1]!, v: lent[2]!, returnLse: true } as const;
      for (const call of [
        { blockMask: byMod, maskMod },
        { blockMask: byPredicate, mask: words },
      ]) {
        const result = attn(runtime, { ...args, ...call });
        checkOut({
          actual: await download(device, result.out),
          reference: want.out.data,
          dtype: 'f32',
        });
        checkLse({ actual: await download(device, result.lse), reference: want.lse.data });
        for (const { buffer } of [result.out, result.lse]) buffer.destroy();
      }
      for (const { buffer } of [...lent, words, byMod.kvIndices, byPredicate.kvIndices]) buffer.destroy();
    }),
}));

/** A plan whose next steps have other blocks: in another tensor, and in the same one. */
const planned: GpuCase = {
  name: 'a plan with other blocks in each step',
  run: (t) =>
    withRuntime(t, async (runtime) => {
      const { device } = runtime;
      const random = new Random(9);
      const tensor = (shape: readonly number[]) =>
        upload(device, 'f32', shape, random.normals(shape.reduce((a, n) => a * n)));
      const [q, k, v] = [tensor([100, 4, 32]), tensor([100, 2, 32]), tensor([100, 2, 32])];
      const out = tensor([100, 4, 32]);
      const sums = { cuSeqlensQ: [0, 50, 100], cuSeqlensK: [0, 50, 100] };
      const listOf = (mask: Mask) =>
        createBlockMask(runtime, { mask, seqlenQ: 50, seqlenK: 50, blockSize: [10, 10] });
      const [near, far] = [
        listOf((_b, _h, x, y) => Math.abs(x - y) < 10),
        listOf((_b, _h, x, y) => Math.abs(x - y) > 20),
      ];
      const plan = planAttnVarlen(runtime, { q, k, v, ...sums, blockMask: near, out });
      const dense = ({ buffer, dtype, shape }: Tensor) => ({
        buffer,
        dtype,
        shape: [2, 50, ...shape.slice(1)],
      });
      const expectSame = async (blockMask: typeof near, what: string): Promise<void> => {
        plan.record({ out });
        const called = attn(runtime, { q: dense(q), k: dense(k), v: dense(v), blockMask });
        assertEqual(await download(device, out), await download(device, called.out), what);
        called.out.buffer.destroy();
      };
      await expectSame(near, 'the blocks of the plan');
      plan.update({ blockMask: far });
      await expectSame(far, 'other blocks');
      // The same buffer with other numbers.
      const other = new Int32Array(near.kvIndices.buffer.size / 4).fill(2).fill(1, 0, 10);
      device.queue.writeBuffer(far.kvIndices.buffer, 0, other);
      plan.update({ blockMask: far });
      await expectSame(far, 'other numbers');
      const onHost = {
        kvNumBlocks: [1, 1, 1, 1, 1],
        kvIndices: [0, 1, 2, 3, 4],
        blockSize: [10, 10],
      } as const;
      plan.update({ blockMask: onHost });
      await expectSame(onHost as never, 'blocks on the host');
      const changed = [...onHost.kvIndices];
      const others = { ...onHost, kvIndices: changed };
      plan.update({ blockMask: others });
      changed[0] = 3;
      plan.update({ blockMask: others });
      await expectSame(others as never, 'an array that was changed');
      plan.destroy();
      for (const { buffer } of [q, k, v, out, near.kvIndices, far.kvIndices]) buffer.destroy();
    }),
};

export const cases: GpuCase[] = [...created, planned];
