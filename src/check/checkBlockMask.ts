import { checkNames, namesOf } from '../core/checkArguments.js';
import { INTS } from '../core/dtype.js';
import { describe } from '../core/errors.js';
import { isTensor, type Ints } from '../core/tensor.js';
import { blockWords, type BlockLists, type BlockMask, type Blocks } from '../problem/blockMask.js';
import { isHostLengths, type DeviceLengths, type HostLengths } from '../problem/attentionProblem.js';
import { isCount, MAX_INT, type Call } from './call.js';
import { checkInts, checkIsNumbers } from './checkNumbers.js';
import { checkTensor, inBrackets } from './checkTensor.js';

const NAMES = namesOf<BlockMask>({
  kvNumBlocks: true,
  kvIndices: true,
  fullKvNumBlocks: true,
  fullKvIndices: true,
  blockSize: true,
});

/** What a block mask is held against. */
interface Given {
  readonly batch: number;
  readonly nHeads: number;
  readonly lengths: HostLengths | DeviceLengths;
}

/** Checks a block mask, as far as the host knows it; null if there is none. */
export function checkBlockMask(call: Call, given: BlockMask | undefined, of: Given): Blocks | null {
  if (given === undefined) return null;
  const { batch, nHeads, lengths } = of;
  return call.memory.keep('block mask', [given, batch, nHeads, lengths], () =>
    checkedBlocks(call, given, of),
  );
}

function checkedBlocks(call: Call, given: BlockMask, { batch, nHeads, lengths }: Given): Blocks {
  checkNames(call.name, given, NAMES, { of: 'blockMask' });
  const { kvNumBlocks, kvIndices, fullKvNumBlocks, fullKvIndices, blockSize } = given;
  const [rowTokens, columnKeys] = checkBlockSize(call, 'blockMask.blockSize', blockSize);
  const [sq, sk] = oneLength(call, lengths);
  const sizes = { batch, nHeads, nRows: Math.ceil(sq / rowTokens), nColumns: Math.ceil(sk / columnKeys) };
  if ((fullKvNumBlocks === undefined) !== (fullKvIndices === undefined))
    call.refuse(
      'argument',
      'blockMask has only one of fullKvNumBlocks and fullKvIndices. Pass both, or neither.',
    );
  const listed = checkLists(call, ['kvNumBlocks', 'kvIndices'], [kvNumBlocks, kvIndices], sizes);
  const full =
    fullKvNumBlocks === undefined || fullKvIndices === undefined
      ? null
      : checkLists(call, ['fullKvNumBlocks', 'fullKvIndices'], [fullKvNumBlocks, fullKvIndices], sizes);
  const shapes = [listed, full].flatMap((lists) => (lists ? [lists.countShape, lists.indexShape] : []));
  const blocks = {
    sequences: Math.max(...shapes.map(([sequences]) => sequences)),
    heads: Math.max(...shapes.map(([, heads]) => heads)),
    ...sizes,
    rowTokens,
    columnKeys,
    listed,
    full,
  };
  checkSize(call, blocks);
  return blocks;
}

/** Checks how many queries and keys a block has. */
export function checkBlockSize(call: Call, name: string, blockSize: unknown): readonly [number, number] {
  const isSize = (size: unknown): size is number => isCount(size) && size > 0 && size <= MAX_INT;
  if (!Array.isArray(blockSize) || blockSize.length !== 2 || !isSize(blockSize[0]) || !isSize(blockSize[1]))
    call.refuseValue(name, '[q, k], whole numbers from 1 on', blockSize);
  return [blockSize[0] as number, blockSize[1] as number];
}

/** The queries and keys of each sequence. */
function oneLength(call: Call, lengths: HostLengths | DeviceLengths): readonly [sq: number, sk: number] {
  if (!isHostLengths(lengths))
    call.refuse(
      'length',
      'blockMask needs lengths on the host: its blocks are those of sequences of one length. Pass cuSeqlensQ, cuSeqlensK and sequsedK as arrays.',
    );
  const { qLen, kLen } = lengths;
  qLen.forEach((sq, b) => {
    const sk = kLen[b]!;
    if (sq === qLen[0] && sk === kLen[0]) return;
    call.refuse(
      'length',
      `blockMask needs sequences of one length, but sequence 0 has ${qLen[0]} queries and ${kLen[0]} keys, and sequence ${b} has ${sq} and ${sk}. Call once for each length, or pass mask.`,
    );
  });
  return [qLen[0] ?? 0, kLen[0] ?? 0];
}

interface Sizes {
  readonly batch: number;
  readonly nHeads: number;
  /** Blocks of queries, at least, and blocks of keys. */
  readonly nRows: number;
  readonly nColumns: number;
}

/** Checks numbers of blocks and their lists; `names` are those of both. */
function checkLists(
  call: Call,
  names: readonly [counts: string, indices: string],
  [counts, indices]: readonly [counts: Ints, indices: Ints],
  sizes: Sizes,
): BlockLists {
  const [countName, indexName] = [`blockMask.${names[0]}`, `blockMask.${names[1]}`] as const;
  if (isTensor(counts) && isTensor(indices)) {
    const dims = ['B or 1', 'Hq or 1', 'nQ'];
    checkTensor(call, countName, counts, { dtypes: INTS, dims });
    checkTensor(call, indexName, indices, { dtypes: INTS, dims: [...dims, 'nK'] });
    const countShape = counts.shape as BlockLists['countShape'];
    const indexShape = indices.shape as BlockLists['indexShape'];
    checkShape(call, countName, countShape, sizes);
    checkShape(call, indexName, indexShape, sizes);
    return { counts, indices, countShape, indexShape };
  }
  if (isTensor(counts) !== isTensor(indices))
    call.refuse(
      'argument',
      `${isTensor(counts) ? countName : indexName} is on the GPU but ${isTensor(counts) ? indexName : countName} is not. Pass both as tensors, or both as arrays.`,
    );
  return checkHostLists(call, [countName, indexName], [counts, indices as typeof counts], sizes);
}

function checkShape(call: Call, name: string, shape: readonly number[], sizes: Sizes): void {
  const [sequences, heads, nRows] = shape as [number, number, number];
  const refuse = (dim: string, wanted: string, size: number): never =>
    call.refuse(
      'shape',
      `${name} is ${inBrackets(shape)}: its dimension ${dim} must be ${wanted}, not ${size}.`,
    );
  if (sequences !== sizes.batch && sequences !== 1) refuse('B', `${sizes.batch} or 1`, sequences);
  if (heads !== sizes.nHeads && heads !== 1) refuse('Hq', `${sizes.nHeads} or 1`, heads);
  if (nRows < sizes.nRows) refuse('nQ', `at least ${sizes.nRows}`, nRows);
}

/** Flat arrays do not say which dimensions they have: it follows from their lengths, where that is clear. */
function checkHostLists(
  call: Call,
  [countName, indexName]: readonly [string, string],
  [given, givenIndices]: readonly [counts: Ints, indices: Ints],
  sizes: Sizes,
): BlockLists {
  const { nRows, nColumns } = sizes;
  checkIsNumbers(call, countName, given);
  checkIsNumbers(call, indexName, givenIndices);
  const [sequences, heads] = sharingOf(call, countName, given.length, sizes);
  const countShape = [sequences, heads, nRows] as const;
  const counts = checkInts(call, countName, given as Ints, {
    dims: ['B or 1', 'Hq or 1', 'nQ'],
    sizes: countShape,
  }) as Int32Array;
  const width = givenIndices.length / Math.max(1, counts.length);
  if (!Number.isInteger(width) || (counts.length === 0 && givenIndices.length > 0))
    call.refuse(
      'shape',
      `${indexName} must have as many entries for each of the ${counts.length} numbers of ${countName}, but it has ${givenIndices.length} in all.`,
    );
  const indexShape = [sequences, heads, nRows, width] as const;
  const indices = checkInts(call, indexName, givenIndices as Ints, {
    dims: ['B or 1', 'Hq or 1', 'nQ', 'nK'],
    sizes: indexShape,
  }) as Int32Array;
  call.each(
    'argument',
    counts,
    (count) => count >= 0 && count <= width,
    (i) =>
      `${countName}[${i}] must be 0 to ${width}, the entries of a row of ${indexName}, not ${counts[i]}.`,
  );
  counts.forEach((count, row) => {
    for (let i = row * width; i < row * width + count; i++) {
      if (indices[i]! >= 0 && indices[i]! < nColumns) continue;
      call.refuse(
        'argument',
        `${indexName}[${i}] must be 0 to ${nColumns - 1}, a block of keys, not ${describe(indices[i])}.`,
      );
    }
  });
  return { counts, indices, countShape, indexShape };
}

/** The sequences and heads that an array of numbers has rows for. */
function sharingOf(
  call: Call,
  name: string,
  length: number,
  { batch, nHeads, nRows }: Sizes,
): readonly [sequences: number, heads: number] {
  const choices = [
    [1, 1],
    [1, nHeads],
    [batch, 1],
    [batch, nHeads],
  ] as const;
  const fitting = choices.filter(([sequences, heads]) => sequences * heads * nRows === length);
  const [first] = fitting;
  if (!first)
    call.refuse(
      'shape',
      `${name} must have ${nRows} numbers, one for each block of queries, or as many for each head, each sequence, or each head of each sequence, not ${length}.`,
    );
  if (nRows > 0 && fitting.some(([sequences, heads]) => sequences !== first[0] || heads !== first[1]))
    call.refuse(
      'shape',
      `${name} has ${length} numbers, which may be those of ${nHeads} heads or of ${batch} sequences. Pass a tensor, whose shape says which.`,
    );
  return first;
}

/** Bits of all blocks have to fit into a buffer, beside what else the plan has there. */
function checkSize(call: Call, blocks: Blocks): void {
  const { sequences, heads, nRows } = blocks;
  const bytes = 4 * sequences * heads * nRows * blockWords(blocks);
  const { maxBindingBytes } = call.traits;
  if (2 * bytes > maxBindingBytes)
    call.refuse(
      'limit',
      `blockMask has ${bytes} bytes of bits for its blocks, but this device binds at most ${maxBindingBytes}. Pass larger blocks, or ask for maxStorageBufferBindingSize.`,
    );
}
