import type { DeviceTraits } from '../core/deviceTraits.js';
import { grid2d, type Dispatch, type Scratch } from '../core/dispatch.js';
import type { FloatDType } from '../core/dtype.js';
import { StepMemory } from '../core/stepMemory.js';
import type { Tensor } from '../core/tensor.js';
import type { AttentionProblem, TokenRows } from '../problem/attentionProblem.js';
import { placesOf, recordCount } from '../wgsl/records.js';
import { constantOf, structOf } from '../wgsl/reflection.js';
import mergeStatesKernel from './merge_states.wgsl';
import { SUMS_ELEMENTS, type SplitParts } from './shared/attention.js';
import { batchInfoLayout } from './shared/batchInfo.js';
import { dtypeCode, firstElementOf, hasMultiplesOf, isWide, outConditions } from './shared/elements.js';

/** Outputs and their lse, in tensors of any strides or in memory of the runtime. */
export interface States {
  readonly out: TokenRows | ScratchRows;
  readonly lse: TokenRows | ScratchRows;
  /**
   * Whether lse holds two numbers of each row, maximum and total: the lse is maximum + ln(total). Where it is large, a
   * single number cannot tell how parts weigh.
   */
  readonly hasTotals: boolean;
}

/** f32 in memory of the runtime, with strides as a tensor has them. */
export interface ScratchRows extends Omit<TokenRows, 'tensor'> {
  readonly tensor: Scratch;
}

/** Several parts at equal distances: in elements of out and of lse from one to the next. */
export interface StackedStates extends States {
  readonly n: number;
  readonly outPart: number;
  readonly lsePart: number;
}

/** What is merged: parts at equal distances, or two anywhere. */
export type MergedParts = { readonly stack: StackedStates } | { readonly pair: readonly [States, States] };

export interface MergeStatesArgs {
  readonly batch: number;
  readonly nTokens: number;
  readonly nHeads: number;
  readonly headDim: number;
  readonly parts: MergedParts;
  readonly out: TokenRows | ScratchRows;
  readonly lse: TokenRows | ScratchRows;
  /** Of the result. */
  readonly hasTotals: boolean;
  readonly traits: DeviceTraits;
}

/** Combines parts of attention, each a tensor like the output. */
export function mergeStatesDispatch({ parts, ...args }: MergeStatesArgs): Dispatch {
  const kind = 'stack' in parts ? 'stack' : 'pair';
  const [a, b] = 'stack' in parts ? [parts.stack, null] : parts.pair;
  const stack = 'stack' in parts ? parts.stack : { n: 1, outPart: 0, lsePart: 0 };
  return merge({
    ...args,
    kind,
    a,
    b,
    nItems: args.batch * args.nTokens,
    nParts: b ? 2 : stack.n,
    params: { n_tokens: args.nTokens, n_a: stack.n, a_part: stack.outPart, a_lse_part: stack.lsePart },
    bindings: {},
  });
}

/** A token whose keys were split into chunks. */
export interface SplitToken {
  readonly sequence: number;
  readonly token: number;
  /** Index of its first part. */
  readonly firstPart: number;
  readonly nParts: number;
}

/** Packs tokens as `SplitToken` of merge_states.wgsl, into words of `memory`. */
export function packSplitTokens(tokens: readonly SplitToken[], memory = new StepMemory()): Uint32Array {
  const places = placesOf(structOf(mergeStatesKernel, 'SplitToken'), SPLIT_TOKEN_FIELDS);
  const words = memory.words('split tokens', tokens.length * places.words);
  for (let i = 0; i < tokens.length; i++) {
    const { sequence, token, firstPart, nParts } = tokens[i]!;
    const at = i * places.words;
    words[at + places.sequence] = sequence;
    words[at + places.token] = token;
    words[at + places.first_part] = firstPart;
    words[at + places.n_parts] = nParts;
  }
  return words;
}

const SPLIT_TOKEN_FIELDS = { sequence: true, token: true, first_part: true, n_parts: true } as const;

export interface MergeChunksArgs {
  readonly problem: AttentionProblem;
  readonly batchInfo: Uint32Array | Scratch;
  /** What `packSplitTokens` returns. */
  readonly items: Uint32Array;
  readonly parts: SplitParts;
  /** Parts of a token among them, at most. */
  readonly maxParts: number;
  /** More parts of each token, in the order of items. */
  readonly sharedParts: SharedParts | null;
  /** Where the output goes instead, to be turned, laid out like out. */
  readonly turnedOut?: Scratch | null;
  readonly traits: DeviceTraits;
}

/** The parts of all tokens from keys that their sequences share. */
export interface SharedParts extends SplitParts {
  /** Parts of each token. */
  readonly nOfToken: number;
}

/** Combines the parts from the chunks of keys of a split attention. */
export function mergeChunksDispatch({
  problem,
  batchInfo,
  items,
  parts,
  maxParts,
  sharedParts,
  turnedOut,
  ...rest
}: MergeChunksArgs): Dispatch {
  const { nHeads, headDimV, out, lse, sinks } = problem;
  // An item says where its token's parts begin and how many there are.
  const byItem = { sequenceStride: 0, tokenStride: 0 };
  const statesOf = ({ scratch: tensor, rowElements }: SplitParts): States => ({
    out: { tensor, headStride: rowElements, ...byItem },
    lse: { tensor, headStride: SUMS_ELEMENTS, ...byItem },
    hasTotals: true,
  });
  const nShared = sharedParts ? sharedParts.nOfToken : 0;
  return merge({
    ...rest,
    kind: sharedParts ? 'cascade' : 'chunks',
    nHeads,
    headDim: headDimV,
    nItems: recordCount(structOf(mergeStatesKernel, 'SplitToken'), items),
    // Where the caller chooses the number of chunks, a sequence's bits must not depend on how long others are.
    nParts: (problem.numSplits > 0 ? problem.numSplits : maxParts) + nShared,
    a: statesOf(parts),
    b: sharedParts && statesOf(sharedParts),
    out,
    lse,
    hasTotals: false,
    params: {
      a_part: nHeads * parts.rowElements,
      a_lse_part: nHeads * SUMS_ELEMENTS,
      a_lse_base: parts.sumsAt,
      b_lse_base: sharedParts?.sumsAt ?? 0,
      n_b: nShared,
      sinks_at: batchInfoLayout(problem).sinksAt,
      has_sinks: sinks ? 1 : 0,
    },
    // Sums are behind the outputs.
    bindings: {
      batch_info: batchInfo,
      items,
      a_lse: null,
      b_lse: null,
      ...(turnedOut && { out: turnedOut }),
    },
  });
}

interface Merge {
  readonly kind: MergeKind;
  readonly nItems: number;
  /** Parts of a row, at most. */
  readonly nParts: number;
  readonly nHeads: number;
  readonly headDim: number;
  readonly a: States;
  readonly b: States | null;
  readonly out: TokenRows | ScratchRows;
  readonly lse: TokenRows | ScratchRows | null;
  readonly hasTotals: boolean;
  /** Params that only this kind has. */
  readonly params: Dispatch['params'];
  readonly bindings: Dispatch['bindings'];
  readonly traits: DeviceTraits;
}

function merge(args: Merge): Dispatch {
  const { kind, nItems, nParts, nHeads, headDim, a, b, out, lse, hasTotals, traits } = args;
  const wide = readsChunks(kind) || [a.out, ...(b ? [b.out] : [])].every((rows) => isWideRows(rows, headDim));
  const tile = mergeTile(traits, kind);
  const partLanes = partLanesFor(nParts, tile);
  const quadLanes = constantOf(mergeStatesKernel, 'QUAD_LANES');
  const rowBlocks = Math.ceil(headDim / (4 * quadLanes));
  const outDType = isTensorRows(out) ? (out.tensor.dtype as FloatDType) : 'f32';
  const outWide = isTensorRows(out) ? hasMultiplesOf(4, out, headDim) : headDim % 4 === 0;
  const workgroupSize = constantOf(mergeStatesKernel, 'WG_SIZE');
  return {
    kernel: mergeStatesKernel,
    spec: mergeSpec(tile, { kind, wide, outDType, outWide }),
    params: {
      n_items: nItems,
      n_heads: nHeads,
      head_dim: headDim,
      row_blocks: rowBlocks,
      part_lanes: partLanes,
      n_tokens: 0,
      n_a: 0,
      n_b: 0,
      a_part: 0,
      a_lse_part: 0,
      sinks_at: 0,
      has_sinks: 0,
      a_type: dtypeCode(tensorOf(a.out)),
      b_type: dtypeCode(tensorOf(b?.out)),
      a_has_totals: a.hasTotals ? 1 : 0,
      b_has_totals: b?.hasTotals ? 1 : 0,
      has_totals: hasTotals ? 1 : 0,
      has_lse: lse ? 1 : 0,
      ...strides('a', a.out),
      ...strides('a_lse', a.lse),
      ...strides('b', b?.out),
      ...strides('b_lse', b?.lse),
      ...strides('out', out),
      ...strides('lse', lse),
      ...args.params,
    },
    bindings: {
      a_out: a.out.tensor,
      a_lse: a.lse.tensor,
      b_out: b?.out.tensor ?? null,
      b_lse: b?.lse.tensor ?? null,
      batch_info: null,
      items: null,
      out: out.tensor,
      lse: lse?.tensor ?? null,
      ...args.bindings,
    },
    grid: grid2d(
      Math.ceil((nItems * nHeads * rowBlocks * partLanes * quadLanes) / workgroupSize),
      traits.maxWorkgroupsPerDimension,
    ),
  };
}

/** How many parts are read at once. */
export interface MergeTile {
  /** Parts whose loads an invocation has in flight. */
  readonly stepParts: number;
  /** The most lanes of eight quads for the parts of a row: all 16 of a workgroup, or one. */
  readonly partLanes: number;
}

/**
 * As the device was tuned; or else one after another where shaders run on a CPU, which has its caches, and for which a
 * barrier is work.
 */
export function mergeTile(
  { deviceClass, tuning }: Pick<DeviceTraits, 'deviceClass' | 'tuning'>,
  kind: MergeKind,
): MergeTile {
  if (kind === 'pair') return { stepParts: 2, partLanes: 1 };
  if (tuning) return tuning.merge;
  return deviceClass === 'software' ? { stepParts: 1, partLanes: 1 } : { stepParts: 4, partLanes: 16 };
}

/** The arrangements that are worth measuring. */
export const MERGE_CANDIDATES: readonly MergeTile[] = [
  { stepParts: 1, partLanes: 1 },
  { stepParts: 4, partLanes: 1 },
  { stepParts: 1, partLanes: 16 },
  { stepParts: 2, partLanes: 16 },
  { stepParts: 4, partLanes: 16 },
  { stepParts: 8, partLanes: 16 },
];

/**
 * Lanes among which the parts of a row are dealt out: where there are enough parts, the loads of all lanes are in flight
 * at once; where there are fewer, a workgroup takes more rows.
 */
export function partLanesFor(nParts: number, { stepParts, partLanes }: MergeTile): number {
  let lanes = 1;
  while (lanes < partLanes && lanes * stepParts < nParts) lanes *= 2;
  return lanes;
}

/** Whether rows of parts can be read 16 bytes at a time. */
function isWideRows(rows: TokenRows | ScratchRows, headDim: number): boolean {
  return isTensorRows(rows) ? isWide(rows, headDim) : headDim % 4 === 0;
}

function isTensorRows(rows: TokenRows | ScratchRows): rows is TokenRows {
  return 'buffer' in rows.tensor;
}

function tensorOf(rows: TokenRows | ScratchRows | null | undefined): Tensor | null {
  return rows && isTensorRows(rows) ? rows.tensor : null;
}

/** A tensor's parameters, as the kernel names them. */
function strides(prefix: string, rows: TokenRows | ScratchRows | null | undefined): Record<string, number> {
  return {
    [`${prefix}_base`]: firstElementOf(tensorOf(rows)),
    [`${prefix}_sequence`]: rows?.sequenceStride ?? 0,
    [`${prefix}_token`]: rows?.tokenStride ?? 0,
    [`${prefix}_head`]: rows?.headStride ?? 0,
  };
}

/**
 * What merge_states merges: the chunks of a split attention, without or with those of a shared prefix, parts at equal
 * distances, or two of them.
 */
export type MergeKind = (typeof MERGE_KINDS)[number];

export const MERGE_KINDS = ['chunks', 'cascade', 'stack', 'pair'] as const;

/** Whether parts are those of chunks, as attention kernels leave them: f32, with maximum and total. */
export function readsChunks(kind: MergeKind): boolean {
  return kind === 'chunks' || kind === 'cascade';
}

export interface MergeFeatures {
  readonly kind: MergeKind;
  /** Whether parts can be read 16 bytes at a time, as chunks always can. */
  readonly wide: boolean;
  readonly outDType: FloatDType;
  /** Whether out can be written four elements at a time. */
  readonly outWide: boolean;
}

export function mergeSpec(
  { stepParts, partLanes }: MergeTile,
  { kind, wide, outDType, outWide }: MergeFeatures,
) {
  return {
    STEP_PARTS: stepParts,
    PART_LANES: partLanes,
    LANES: partLanes > 1,
    WIDE: wide,
    CHUNKS: readsChunks(kind),
    SHARED: kind === 'cascade',
    PAIR: kind === 'pair',
    ...outConditions(outDType, outWide),
  };
}

export { mergeStatesKernel };
