import type { DeviceTraits } from '../core/deviceTraits.js';
import { grid2d, type Dispatch, type Scratch } from '../core/dispatch.js';
import { bytesPerElement, isQuantised, type FloatDType } from '../core/dtype.js';
import { StepMemory } from '../core/stepMemory.js';
import { isTensor, stridesOf, windowOf } from '../core/tensor.js';
import type {
  AttentionProblem,
  PagedRows,
  Rotary,
  SmallFloats,
  TokenRows,
} from '../problem/attentionProblem.js';
import type { Kernel } from '../wgsl/kernel.js';
import { placesOf } from '../wgsl/records.js';
import { constantOf, structOf, withBindings } from '../wgsl/reflection.js';
import appendKvKernel from './append_kv.wgsl';
import { batchInfoLayout } from './shared/batchInfo.js';
import { dtypeCode, firstElementOf, hasMultiplesOf, isWide } from './shared/elements.js';

/** What a dispatch of append_kv writes, at least one of them. */
export interface Appended {
  readonly newK: TokenRows | null;
  readonly newV: TokenRows | null;
  /** Where queries are rotated to. */
  readonly rotatedQ: Scratch | null;
}

export interface AppendArgs {
  readonly problem: AttentionProblem;
  readonly tokens: NewTokens;
  readonly writes: Appended;
  readonly maxWorkgroupsPerDimension: number;
}

/** The tokens of a dispatch, as items in the array that has the sequences. */
export interface NewTokens {
  readonly batchInfo: Uint32Array | Scratch;
  /** The first item, counted in items; 0: item b is sequence b. */
  readonly itemsAt: number;
  readonly nItems: number;
  /** Tokens of an item, at most. */
  readonly itemTokens: number;
}

/** Tokens up to which a batch is listed one by one. */
const MAX_SINGLE_TOKENS = 4096;

/** Tokens of an item of a longer list, so that it stays short: a prompt has thousands. */
const ITEM_TOKENS = 16;

/**
 * Lists `counts[b]` tokens of sequence b. Where all have about as many, as when all decode, each sequence is an item and
 * nothing needs to be listed.
 *
 * @param sequences returns the `Sequence` records of the batch, or all of its `batch_info`, which a list follows; null where
 * some of it is on the GPU
 * @param memory has the words of the list, by `name`
 */
export function listNewTokens(
  counts: Uint32Array,
  batchInfo: Uint32Array | Scratch,
  sequences: (() => Uint32Array) | null,
  memory = new StepMemory(),
  name = 'new tokens',
): NewTokens {
  let most = 0;
  let total = 0;
  for (const count of counts) {
    most = Math.max(most, count);
    total += count;
  }
  if (!sequences || counts.length * most <= 2 * total)
    return { batchInfo, itemsAt: 0, nItems: counts.length, itemTokens: most };
  const itemTokens = total <= MAX_SINGLE_TOKENS ? 1 : ITEM_TOKENS;
  let nItems = 0;
  for (const count of counts) nItems += Math.ceil(count / itemTokens);
  const places = placesOf(structOf(appendKvKernel, 'NewTokens'), NEW_TOKENS_FIELDS);
  const records = sequences();
  const itemsAt = Math.ceil(records.length / places.words);
  const words = memory.words(`list of ${name}`, (itemsAt + nItems) * places.words);
  words.set(records);
  let at = itemsAt * places.words;
  counts.forEach((count, sequence) => {
    for (let token = 0; token < count; token += itemTokens, at += places.words) {
      words[at + places.sequence] = sequence;
      words[at + places.first_token] = token;
    }
  });
  return { batchInfo: words, itemsAt, nItems, itemTokens };
}

const NEW_TOKENS_FIELDS = { sequence: true, first_token: true } as const;

// Layouts of their own, since that of all variants has more buffers than some devices can bind.
const appendKernel = /* @__PURE__ */ withBindings(
  appendKvKernel,
  (name) => name !== 'q' && name !== 'rotated_q',
);
const rotateKernel = /* @__PURE__ */ withBindings(appendKvKernel, (name) =>
  ['params', 'q', 'batch_info', 'cosines', 'sines', 'rotated_q'].includes(name),
);

function kernelFor(appends: boolean, queries: boolean): Kernel {
  if (appends && queries) return appendKvKernel;
  return appends ? appendKernel : rotateKernel;
}

/** Whether a device can bind what a dispatch needs that both appends and rotates queries. */
export function canAppendAndRotate({ maxStorageBuffers }: DeviceTraits): boolean {
  const { bindings }: Kernel = appendKvKernel;
  return bindings.filter(({ access }) => access !== 'uniform').length <= maxStorageBuffers;
}

/** Room for queries laid out like q. */
export function rotatedQScratch({ q }: AttentionProblem): Scratch {
  return { scratch: 'rotated q', bytes: windowOf(q.tensor).size };
}

/** Writes new keys, rotated if the problem says so, and new values to their slots, and rotates queries. */
export function appendDispatch({ problem, tokens, writes, ...rest }: AppendArgs): Dispatch {
  const { q, k, v, append } = problem;
  const { newK, newV, rotatedQ } = writes;
  const rotary = append?.rotary ?? null;
  // Values alone are not rotated.
  const angles = newK || rotatedQ ? rotary : null;
  const [appends, queries] = [newK !== null || newV !== null, rotatedQ !== null];
  const pages = appends ? problem.pages : null;
  const params = newRowsParams(problem, tokens, writes);
  const nOctets = tokens.nItems * tokens.itemTokens * params['token_octets']!;
  return {
    kernel: kernelFor(appends, queries),
    spec: appendSpec({
      appends,
      queries,
      rotary: rotary !== null,
      paged: pages !== null,
      ...positionsOf(problem, angles),
      ...accessesOf(problem, writes),
    }),
    params,
    bindings: {
      batch_info: tokens.batchInfo,
      q: queries ? q.tensor : null,
      new_k: newK?.tensor ?? null,
      new_v: newV?.tensor ?? null,
      cosines: angles?.cos ?? null,
      sines: angles?.sin ?? null,
      block_table: pages?.table ?? null,
      k_cache: newK ? k.tensor : null,
      v_cache: newV ? v.tensor : null,
      rotated_q: rotatedQ,
    },
    grid: grid2d(Math.ceil(nOctets / constantOf(appendKvKernel, 'WG_SIZE')), rest.maxWorkgroupsPerDimension),
  };
}

/** The parameters of new_rows.wgsl. Without `scales`, those of scales are 0. */
export function newRowsParams(
  problem: AttentionProblem,
  tokens: NewTokens,
  { newK, newV, rotatedQ }: Appended,
  scales: Readonly<Record<string, number>> = NO_SCALES,
): Readonly<Record<string, number>> {
  const { q, k, v, nHeads, nKvHeads, headDim, headDimV, append } = problem;
  // Values alone are not rotated.
  const angles = newK || rotatedQ ? (append?.rotary ?? null) : null;
  const pages = newK || newV ? problem.pages : null;
  const kOctets = newK ? nKvHeads * octetsOf(headDim) : 0;
  const kvOctets = kOctets + (newV ? nKvHeads * octetsOf(headDimV) : 0);
  return {
    n_items: tokens.nItems,
    item_tokens: tokens.itemTokens,
    items_at: tokens.itemsAt,
    token_octets: kvOctets + (rotatedQ ? nHeads * octetsOf(headDim) : 0),
    k_octets: kOctets,
    kv_octets: kvOctets,
    head_dim: headDim,
    head_dim_v: headDimV,
    new_type: dtypeCode((newK ?? newV)?.tensor),
    // Of a quantised cache the kernel knows it.
    cache_type: isQuantised(k.tensor.dtype) ? 0 : dtypeCode(k.tensor),
    q_type: dtypeCode(q.tensor),
    new_k_token: newK?.tokenStride ?? 0,
    new_k_head: newK?.headStride ?? 0,
    new_v_token: newV?.tokenStride ?? 0,
    new_v_head: newV?.headStride ?? 0,
    k_page: k.pageStride,
    k_token: k.tokenStride,
    k_head: k.headStride,
    v_page: v.pageStride,
    v_token: v.tokenStride,
    v_head: v.headStride,
    q_token: q.tokenStride,
    q_head: q.headStride,
    page_size: pages?.pageSize ?? 1,
    n_pages: pages?.nPages ?? 0,
    rotary_pairs: angles?.pairs ?? 0,
    is_interleaved: angles?.interleaved ? 1 : 0,
    queries_advance: angles?.queriesAdvance ? 1 : 0,
    n_positions: angles?.nPositions ?? 1,
    ...anglesParams('cos', angles),
    ...anglesParams('sin', angles),
    angle_type: dtypeCode(angles?.cos),
    ...positionsParams(problem, angles),
    ...scales,
  };
}

/** Where the scales of a quantised cache are: see new_rows.wgsl. */
const NO_SCALES = { scale_base: 0, scale_page: 0, scale_token: 0, scale_head: 0 };

export function octetsOf(headDim: number): number {
  return Math.ceil(headDim / 8);
}

function anglesParams(name: 'cos' | 'sin', rotary: Rotary | null): Record<string, number> {
  const angles: SmallFloats | undefined = rotary?.[name];
  const position = angles && isTensor(angles) ? stridesOf(angles)[0]! : (rotary?.pairs ?? 0);
  return { [`${name}_base`]: firstElementOf(angles), [`${name}_position`]: position };
}

/** Whether tokens are rotated by positions of their own, and by three each. */
export function positionsOf(
  { masks: { tokens } }: AttentionProblem,
  angles: Rotary | null,
): { readonly positions: boolean; readonly sections: boolean } {
  const positions = angles !== null && tokens !== undefined && tokens.positionRows > 0;
  return { positions, sections: positions && angles.sections !== undefined };
}

function positionsParams(problem: AttentionProblem, angles: Rotary | null): Record<string, number> {
  const { tokensAt, positionsAt } = batchInfoLayout(problem);
  const { pairs = [0, 0, 0], interleaved = false } = angles?.sections ?? {};
  return {
    tokens_at: tokensAt,
    positions_at: positionsAt,
    n_tokens: problem.masks.tokens?.nTokens ?? 0,
    time_pairs: pairs[0],
    height_pairs: pairs[1],
    width_pairs: pairs[2],
    pairs_take_turns: interleaved ? 1 : 0,
  };
}

/** How a dispatch may access its tensors. */
export interface AppendAccesses {
  /** Whether rows of all of them can be read and written 16 bytes at a time. */
  readonly wide: boolean;
  /** Whether every row that is written begins and ends with a whole word, if halves come in pairs. */
  readonly wholeWords: boolean;
}

/** The accesses that the tensors of a problem allow, as far as they are read or written. */
export function accessesOf(
  { q, k, v, headDim, headDimV }: AttentionProblem,
  { newK, newV, rotatedQ }: Appended,
): AppendAccesses {
  const written: (readonly [TokenRows | PagedRows, number])[] = [];
  if (newK) written.push([k, headDim]);
  if (newV) written.push([v, headDimV]);
  if (rotatedQ) written.push([q, headDim]);
  const read: (readonly [TokenRows, number])[] = [];
  if (newK) read.push([newK, headDim]);
  if (newV) read.push([newV, headDimV]);
  return {
    wide: [...written, ...read].every(([rows, dim]) => isWide(rows, dim)),
    wholeWords: written.every(
      ([rows, dim]) => bytesPerElement(rows.tensor.dtype as FloatDType) === 4 || hasMultiplesOf(2, rows, dim),
    ),
  };
}

export interface AppendFeatures extends AppendAccesses {
  readonly appends: boolean;
  readonly queries: boolean;
  readonly rotary: boolean;
  readonly paged: boolean;
  /** Whether tokens have positions of their own to be rotated by, and three each. Default false. */
  readonly positions?: boolean;
  readonly sections?: boolean;
}

export function appendSpec(features: AppendFeatures) {
  const { appends, queries, rotary, paged, wide, wholeWords, positions, sections } = features;
  return {
    APPENDS: appends,
    QUERIES: queries,
    ROTARY: rotary,
    POSITIONS: positions === true,
    SECTIONS: sections === true,
    PAGED: paged,
    WIDE: wide,
    WORDS: wholeWords,
    // Those of append_quantised.
    KEYS: false,
    VALUES: false,
  };
}
