import { Call, checkPass } from '../check/call.js';
import { checkMods } from '../check/checkMods.js';
import { checkCounts, checkNames, namesOf } from '../core/checkArguments.js';
import type { Dispatch } from '../core/dispatch.js';
import { describe } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import { listBlocksDispatch } from '../kernels/listBlocks.js';
import { checkDispatches } from '../plan/limits.js';
import type { MaskMod } from '../problem/attentionArgs.js';
import type { Mods } from '../problem/attentionProblem.js';
import { elementsOf, type BlockGrid, type BlockMask } from '../problem/blockMask.js';
import type { Runtime } from '../runtime/runtime.js';
import { writeBytes } from '../runtime/transfers.js';
import { checkBlockSize } from '../check/checkBlockMask.js';
import { runPlanned } from './attentionOperation.js';

/** What `createBlockMask` takes: `mask` or `maskMod`, and how large the calls are that the block mask is for. */
export interface CreateBlockMaskArgs {
  /**
   * Whether a query sees a key, in JavaScript: `b` is the sequence, `h` the query head, `q` and `k` are the positions of
   * query and key, as `maskMod` has them: query i stands at i + seqlenK − seqlenQ. It is called for every pair.
   */
  readonly mask?: ((b: number, h: number, q: number, k: number) => boolean) | undefined;
  /** The same in WGSL, computed on the GPU: see `AttentionOptions`. */
  readonly maskMod?: MaskMod | undefined;
  /** Sequences that have lists of their own. Default 1: all sequences share them. */
  readonly batch?: number | undefined;
  /** Query heads that have lists of their own. Default 1: all heads share them. */
  readonly nHeads?: number | undefined;
  /** Queries of a sequence. */
  readonly seqlenQ: number;
  /** Keys of a sequence. */
  readonly seqlenK: number;
  /** Queries and keys of a block. Default [128, 128]. */
  readonly blockSize?: readonly [q: number, k: number] | undefined;
  /** A pass to record `maskMod` into, which the caller ends and submits. Default: the call submits its own work at once. */
  readonly pass?: GPUComputePassEncoder | undefined;
}

/** A block mask on the GPU. Its tensors are in one buffer. */
export interface CreatedBlockMask extends BlockMask {
  /** i32 [batch, nHeads, ⌈seqlenQ / blockSize[0]⌉] */
  readonly kvNumBlocks: Tensor;
  /** i32 [batch, nHeads, ⌈seqlenQ / blockSize[0]⌉, ⌈seqlenK / blockSize[1]⌉] */
  readonly kvIndices: Tensor;
  readonly fullKvNumBlocks: Tensor;
  readonly fullKvIndices: Tensor;
}

const NAMES = namesOf<CreateBlockMaskArgs>({
  mask: true,
  maskMod: true,
  batch: true,
  nHeads: true,
  seqlenQ: true,
  seqlenK: true,
  blockSize: true,
  pass: true,
});

/**
 * Lists which blocks of keys each block of queries sees, for `blockMask` of `attn` and `attnVarlen`: blocks of which the
 * mask lets every query see every key in `fullKvIndices`, others of which any query sees a key in `kvIndices`. It is made
 * once, for all layers and as long as lengths stay the same. The caller destroys its one buffer.
 *
 * A block mask hides whole blocks. Within the blocks of `kvIndices` it hides nothing by itself: pass the same `maskMod` to
 * the call, which asks it there and only there; or where there is none, the same mask as bits (`mask`). Without either, all
 * keys of these blocks are seen.
 *
 * @throws PageflashError before anything is recorded or written
 * @example
 * // Queries see their own document: `ids` is a tensor i32 [8192].
 * const code = 'fn mask_mod(b: u32, h: u32, q: i32, k: i32) -> bool { return ids[q] == ids[k]; }';
 * const maskMod = { name: 'documents', code, tensors: { ids } };
 * const blockMask = createBlockMask(runtime, { maskMod, seqlenQ: 8192, seqlenK: 8192 });
 * const { out } = attn(runtime, { q, k, v, blockMask, maskMod });
 */
export function createBlockMask(runtime: Runtime, args: CreateBlockMaskArgs): CreatedBlockMask {
  const call = Call.on(runtime, 'createBlockMask');
  checkNames(call.name, args, NAMES);
  const { mask, maskMod, pass } = args;
  const blocks = gridOf(call, args);
  checkPass(call, pass);
  const mods = checkMods(call, { maskMod });
  if ((mask === undefined) === (mods === null))
    call.refuse('argument', `pass mask or maskMod${mods ? ', not both' : ''}.`);
  if (mask !== undefined && typeof mask !== 'function')
    call.refuseValue('mask', 'a function (b, h, q, k) => boolean', mask);
  checkPairs(call, blocks, mask !== undefined);
  const listed = mask && listBlocks(call, mask, blocks);
  const { lists } = runPlanned(runtime, { name: call.name, pass }, (makeTensor) => {
    const tensor = makeTensor([elementsOf(blocks).end], 'i32', 'block mask');
    const dispatches = mods ? planLists(call, { blocks, mods, lists: tensor }) : [];
    return { lists: tensor, dispatches };
  });
  if (listed)
    writeBytes(runtime.device, [{ buffer: lists.buffer, offset: 0, bytes: new Uint8Array(listed.buffer) }]);
  return blockMaskOf(lists, blocks);
}

/** Pairs of a query and a key that a dispatch looks at, so that none takes long. */
const MOST_DISPATCHED = 2 ** 31;

/** And that JavaScript is asked about, and the GPU: some seconds of either. */
const MOST_ASKED = 2 ** 28;
const MOST_COMPUTED = 2 ** 40;

function planLists(
  call: Call,
  work: { readonly blocks: BlockGrid; readonly mods: Mods; readonly lists: Tensor },
) {
  const { batch, nHeads, nRows, rowTokens, seqlenK } = work.blocks;
  const { maxWorkgroupsPerDimension } = call.traits;
  const nAllRows = batch * nHeads * nRows;
  const perDispatch = Math.max(1, Math.floor(MOST_DISPATCHED / (rowTokens * Math.max(1, seqlenK))));
  const dispatches: Dispatch[] = [];
  for (let first = 0; first < nAllRows; first += perDispatch) {
    const range = [first, Math.min(first + perDispatch, nAllRows)] as const;
    dispatches.push(listBlocksDispatch({ ...work, range, maxWorkgroupsPerDimension }));
  }
  checkDispatches(call.name, dispatches, call.traits);
  return dispatches;
}

function gridOf(call: Call, args: CreateBlockMaskArgs): BlockGrid {
  const { batch = 1, nHeads = 1, seqlenQ, seqlenK, blockSize = [128, 128] } = args;
  checkCounts(call.name, { batch, nHeads });
  checkCounts(call.name, { seqlenQ, seqlenK }, 0);
  const [rowTokens, columnKeys] = checkBlockSize(call, 'blockSize', blockSize);
  const [nRows, nColumns] = [Math.ceil(seqlenQ / rowTokens), Math.ceil(seqlenK / columnKeys)];
  const blocks = { batch, nHeads, nRows, nColumns, seqlenQ, seqlenK, rowTokens, columnKeys };
  const bytes = 4 * elementsOf(blocks).end;
  const { maxBindingBytes } = call.traits;
  if (bytes > maxBindingBytes || Math.max(seqlenQ, seqlenK) > 2 ** 30)
    call.refuse(
      'limit',
      `lists of ${batch * nHeads * nRows} × ${nColumns} blocks take ${bytes} bytes, but this device binds at most ${maxBindingBytes}, and sequences have at most 2³⁰ tokens. Pass larger blocks, or fewer heads.`,
    );
  return blocks;
}

function checkPairs(call: Call, { batch, nHeads, seqlenQ, seqlenK }: BlockGrid, isOnHost: boolean): void {
  const pairs = batch * nHeads * seqlenQ * seqlenK;
  const most = isOnHost ? MOST_ASKED : MOST_COMPUTED;
  if (pairs <= most) return;
  const remedy = isOnHost ? 'Pass a maskMod, which the GPU computes, or fewer heads.' : 'Pass fewer heads.';
  call.refuse(
    'limit',
    `${isOnHost ? 'mask' : 'maskMod'} would be asked about ${pairs} pairs of a query and a key, but ${most} are the most. ${remedy}`,
  );
}

/** The lists of a predicate. */
function listBlocks(
  call: Call,
  mask: NonNullable<CreateBlockMaskArgs['mask']>,
  blocks: BlockGrid,
): Int32Array<ArrayBuffer> {
  const { batch, nHeads, nRows, nColumns } = blocks;
  const at = elementsOf(blocks);
  const lists = new Int32Array(at.end);
  for (let row = 0; row < batch * nHeads * nRows; row++) {
    const [b, h] = [Math.floor(row / (nHeads * nRows)), Math.floor(row / nRows) % nHeads];
    let [nPartial, nFull] = [0, 0];
    for (let column = 0; column < nColumns; column++) {
      const { some, all } = pairsOf(call, (q, k) => mask(b, h, q, k), blocks, row % nRows, column);
      if (all) lists[at.fullIndices + row * nColumns + nFull++] = column;
      else if (some) lists[at.indices + row * nColumns + nPartial++] = column;
    }
    lists[at.counts + row] = nPartial;
    lists[at.fullCounts + row] = nFull;
  }
  return lists;
}

/** Whether a mask lets some queries of a block see some keys, and all see all. */
function pairsOf(
  call: Call,
  sees: (q: number, k: number) => boolean,
  { seqlenQ, seqlenK, rowTokens, columnKeys }: BlockGrid,
  row: number,
  column: number,
): { readonly some: boolean; readonly all: boolean } {
  let [some, all] = [false, true];
  const ahead = seqlenK - seqlenQ;
  for (let i = row * rowTokens; i < Math.min((row + 1) * rowTokens, seqlenQ); i++) {
    for (let j = column * columnKeys; j < Math.min((column + 1) * columnKeys, seqlenK); j++) {
      const isSeen: unknown = sees(i + ahead, j);
      if (typeof isSeen !== 'boolean')
        call.refuse(
          'argument',
          `mask must give true or false, not ${describe(isSeen)} for q = ${i + ahead} and k = ${j}.`,
        );
      some ||= isSeen;
      all &&= isSeen;
    }
  }
  return { some, all };
}

/** The tensors of lists that are in one. */
function blockMaskOf({ buffer }: Tensor, blocks: BlockGrid): CreatedBlockMask {
  const { batch, nHeads, nRows, nColumns, rowTokens, columnKeys } = blocks;
  const at = elementsOf(blocks);
  const counts = { buffer, dtype: 'i32', shape: [batch, nHeads, nRows] } as const;
  const indices = { buffer, dtype: 'i32', shape: [batch, nHeads, nRows, nColumns] } as const;
  return {
    kvNumBlocks: { ...counts, offset: at.counts },
    kvIndices: { ...indices, offset: at.indices },
    fullKvNumBlocks: { ...counts, offset: at.fullCounts },
    fullKvIndices: { ...indices, offset: at.fullIndices },
    blockSize: [rowTokens, columnKeys],
  };
}
