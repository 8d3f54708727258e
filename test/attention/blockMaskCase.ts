import { elementCount, type Tensor } from '../../src/core/tensor.js';
import type { BlockMask } from '../../src/index.js';
import type { HostBlockMask, HostInt32s } from '../../src/reference/attention.js';
import { upload } from '../../tools/deviceTensor.js';
import type { Random } from '../../tools/random.js';

// Block masks for the cases of attention.

/** What has lists of its own: each head of each sequence, each sequence, each head, or nothing. */
export const BLOCK_SHARING = ['nothing', 'heads', 'sequences', 'all'] as const;

export interface BlocksCase {
  readonly blocks?: (typeof BLOCK_SHARING)[number] | undefined;
  readonly blockSize?: readonly [q: number, k: number];
  /** Whether some blocks are listed as full. */
  readonly fullBlocks?: boolean;
  readonly blocksOnGpu?: boolean;
}

/** The sizes of a batch of sequences of one length. */
interface BatchSizes {
  readonly batch: number;
  readonly nHeads: number;
  readonly sq: number;
  readonly sk: number;
}

export function drawBlocks(
  random: Random,
  kind: BlocksCase,
  sizes: BatchSizes,
): { blockMask?: HostBlockMask } {
  const { blocks, blockSize = [16, 16], fullBlocks = false } = kind;
  if (!blocks) return {};
  const [nQ, nK] = [Math.ceil(sizes.sq / blockSize[0]), Math.ceil(sizes.sk / blockSize[1])];
  const batch = blocks === 'nothing' || blocks === 'heads' ? sizes.batch : 1;
  const heads = blocks === 'nothing' || blocks === 'sequences' ? sizes.nHeads : 1;
  // Of each block of keys: not listed, listed, listed as full. Stretches of blocks are alike, and so are rows. Some blocks are in
  // no list.
  const isListed = Array.from({ length: nK }, () => random.int(0, 6) > 0);
  const rows = Array.from({ length: batch * heads * nQ }, () => 0);
  let kinds: number[] = [];
  const lists = rows.map(() => {
    if (kinds.length === 0 || random.int(0, 3) === 0) {
      const stretch = random.int(1, 6);
      const of = Array.from({ length: Math.ceil(nK / stretch) }, () => random.int(0, fullBlocks ? 3 : 2));
      kinds = Array.from({ length: nK }, (_, j) => of[Math.floor(j / stretch)]!);
    }
    const isEmpty = random.int(0, 9) === 0;
    return [1, 2].map((listed) =>
      shuffled(
        random,
        kinds.flatMap((each, j) => (each === listed && isListed[j] && !isEmpty ? [j] : [])),
      ),
    );
  });
  const shape = [batch, heads, nQ];
  const of = (which: number): readonly [counts: HostInt32s, indices: HostInt32s] => {
    const width = Math.max(1, nK + random.int(0, 2));
    const indices = new Int32Array(rows.length * width).map(() => random.int(-3, 2 ** 31 - 1));
    lists.forEach((list, row) => indices.set(list[which]!, row * width));
    return [
      { shape, data: Int32Array.from(lists, (list) => list[which]!.length) },
      { shape: [...shape, width], data: indices },
    ];
  };
  const [kvNumBlocks, kvIndices] = of(0);
  const [fullKvNumBlocks, fullKvIndices] = fullBlocks ? of(1) : [];
  return {
    blockMask: { kvNumBlocks, kvIndices, ...(fullBlocks && { fullKvNumBlocks, fullKvIndices }), blockSize },
  };
}

function shuffled(random: Random, list: readonly number[]): number[] {
  return Array.from(random.permutation(list.length), (i) => list[i]!);
}

/** As arguments of a call: on the GPU if the case asks for it, or if flat arrays would not tell heads from sequences. */
export function placeBlocks(
  device: GPUDevice,
  { blocks, blocksOnGpu = false }: BlocksCase,
  { batch, nHeads }: Pick<BatchSizes, 'batch' | 'nHeads'>,
  blockMask: HostBlockMask,
): { readonly blockMask: BlockMask; readonly lent: readonly Tensor[] } {
  const isAmbiguous = (blocks === 'heads' || blocks === 'sequences') && batch === nHeads && batch > 1;
  const { kvNumBlocks, kvIndices, fullKvNumBlocks, fullKvIndices, blockSize } = blockMask;
  if (!blocksOnGpu && !isAmbiguous)
    return {
      blockMask: {
        kvNumBlocks: kvNumBlocks.data,
        kvIndices: kvIndices.data,
        fullKvNumBlocks: fullKvNumBlocks?.data,
        fullKvIndices: fullKvIndices?.data,
        blockSize,
      },
      lent: [],
    };
  const lent: Tensor[] = [];
  const lend = ({ shape, data }: HostInt32s): Tensor => {
    const tensor = upload(device, 'i32', shape, data, { offset: elementCount(shape) > 4 ? 3 : 0 });
    lent.push(tensor);
    return tensor;
  };
  return {
    blockMask: {
      kvNumBlocks: lend(kvNumBlocks),
      kvIndices: lend(kvIndices),
      ...(fullKvNumBlocks && { fullKvNumBlocks: lend(fullKvNumBlocks) }),
      ...(fullKvIndices && { fullKvIndices: lend(fullKvIndices) }),
      blockSize,
    },
    lent,
  };
}
