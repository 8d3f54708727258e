import { createBlockMask } from '../../src/index.js';
import type { Args, Maker, PublicCall } from './callMaker.js';

interface Batch {
  readonly batch: number;
  readonly nHeads: number;
  readonly sq: number;
  readonly sk: number;
}

/** A block mask, on the host or on the GPU. */
export function drawBlockMask({ random, tensor }: Maker, { batch, nHeads, sq, sk }: Batch): Args {
  const blockSize = [random.int(1, 9), random.int(1, 9)] as const;
  const [nRows, nColumns] = [Math.ceil(sq / blockSize[0]), Math.ceil(sk / blockSize[1])];
  // Flat arrays of as many heads as sequences would not say which of both they are of.
  const isOnGpu = random.boolean() || batch === nHeads;
  const shared = [batch, nHeads].map((size) => (random.boolean() ? 1 : size));
  const width = nColumns + random.int(1, 3);
  const lists = (): readonly [counts: unknown, indices: unknown] => {
    const shape = [...shared, nRows];
    if (isOnGpu)
      return [
        tensor(random.pick(['i32', 'u32'] as const), shape),
        tensor(random.pick(['i32', 'u32'] as const), [...shape, width]),
      ];
    const counts = Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.int(0, nColumns + 1));
    const indices = counts.flatMap(() =>
      Array.from({ length: width }, (_, i) => (i < nColumns ? random.int(0, nColumns) : -7)),
    );
    return random.boolean() ? [counts, indices] : [Int32Array.from(counts), Int32Array.from(indices)];
  };
  const [kvNumBlocks, kvIndices] = lists();
  const [fullKvNumBlocks, fullKvIndices] = lists();
  return {
    kvNumBlocks,
    kvIndices,
    ...(random.boolean() && { fullKvNumBlocks, fullKvIndices }),
    blockSize: [...blockSize],
  };
}

export function createBlockMaskCall({ random }: Maker): PublicCall {
  const code = 'fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool { return k <= q; }';
  const args: Args = {
    ...(random.boolean()
      ? { mask: (_b: number, _h: number, q: number, k: number) => k <= q }
      : { maskMod: { name: 'causal blocks', code } }),
    seqlenQ: random.int(0, 40),
    seqlenK: random.int(0, 40),
    ...(random.boolean() && { batch: random.int(1, 3) }),
    ...(random.boolean() && { nHeads: random.int(1, 3) }),
    ...(random.boolean() && { blockSize: [random.int(1, 20), random.int(1, 20)] }),
  };
  return { name: 'createBlockMask', args, run: (runtime, given) => createBlockMask(runtime, given as never) };
}
