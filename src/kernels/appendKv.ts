import { grid2d, type Dispatch, type Scratch } from '../core/dispatch.js';
import { bytesPerElement, type FloatDType } from '../core/dtype.js';
import { StepMemory } from '../core/stepMemory.js';
import { isTensor, stridesOf, windowOf } from '../core/tensor.js';
import type {
  AttentionProblem,
  PagedRows,
  Rotary,
  SmallFloats,
  TokenRows,
} from '../problem/attentionProblem.js';
import { placesOf, recordCount } from '../wgsl/records.js';
import { constantOf, structOf } from '../wgsl/reflection.js';
import appendKvKernel from './append_kv.wgsl';
import { dtypeCode, firstElementOf, hasMultiplesOf } from './shared/elements.js';

/**
 * Packs `NewToken` of append_kv.wgsl, into words of `memory`: `counts[b]` tokens of sequence b, from its first new one, or
 * query, on.
 */
export function packNewTokens(
  counts: ArrayLike<number>,
  memory = new StepMemory(),
  name = 'new tokens',
): Uint32Array {
  const places = placesOf(structOf(appendKvKernel, 'NewToken'), NEW_TOKEN_FIELDS);
  let total = 0;
  for (let sequence = 0; sequence < counts.length; sequence++) total += counts[sequence]!;
  const words = memory.words(name, total * places.words);
  let at = 0;
  for (let sequence = 0; sequence < counts.length; sequence++) {
    for (let token = 0; token < counts[sequence]!; token++, at += places.words) {
      words[at + places.sequence] = sequence;
      words[at + places.token] = token;
    }
  }
  return words;
}

const NEW_TOKEN_FIELDS = { sequence: true, token: true } as const;

interface AppendArgs {
  readonly problem: AttentionProblem;
  readonly batchInfo: Uint32Array | Scratch;
  /** What `packNewTokens` returns. */
  readonly items: Uint32Array;
  readonly maxWorkgroupsPerDimension: number;
}

/** Writes new keys, rotated if the problem says so, to their slots. */
export function appendKDispatch(args: AppendArgs, newK: TokenRows): Dispatch {
  const { problem } = args;
  const cache = { rows: problem.k, headDim: problem.headDim, nHeads: problem.nKvHeads };
  const rotary = problem.append?.rotary ?? null;
  return append(args, { fresh: newK, cache, rotary, advances: true, isValue: false });
}

/** Writes new values to their slots. */
export function appendVDispatch(args: AppendArgs, newV: TokenRows): Dispatch {
  const { problem } = args;
  const cache = { rows: problem.v, headDim: problem.headDimV, nHeads: problem.nKvHeads };
  return append(args, { fresh: newV, cache, rotary: null, advances: true, isValue: true });
}

/** Rotates queries into memory that is laid out like q. */
export function rotateQDispatch(args: AppendArgs, rotary: Rotary, into: Scratch): Dispatch {
  const { q, headDim, nHeads } = args.problem;
  const cache = { rows: { ...q, pageStride: 0 }, headDim, nHeads, into };
  return append(args, { fresh: q, cache, rotary, advances: rotary.queriesAdvance, isValue: false });
}

/** Room for queries laid out like q. */
export function rotatedQScratch({ q }: AttentionProblem): Scratch {
  return { scratch: 'rotated q', bytes: windowOf(q.tensor).size };
}

interface What {
  readonly fresh: TokenRows;
  readonly cache: {
    readonly rows: PagedRows;
    readonly headDim: number;
    readonly nHeads: number;
    /** For queries: where to write instead. */
    readonly into?: Scratch;
  };
  readonly rotary: Rotary | null;
  readonly advances: boolean;
  readonly isValue: boolean;
}

function append({ problem, batchInfo, items, maxWorkgroupsPerDimension }: AppendArgs, what: What): Dispatch {
  const { fresh, cache, rotary, advances, isValue } = what;
  const pages = cache.into ? null : problem.pages;
  const nItems = recordCount(structOf(appendKvKernel, 'NewToken'), items);
  const nPairs = nItems * cache.nHeads * Math.ceil(cache.headDim / 2);
  return {
    kernel: appendKvKernel,
    spec: appendSpec({
      from: fresh.tensor.dtype as FloatDType,
      to: cache.rows.tensor.dtype as FloatDType,
      wholeWords: hasMultiplesOf(2, cache.rows, cache.headDim),
      paged: pages !== null,
      rotary: rotary !== null,
      queries: cache.into !== undefined,
    }),
    params: {
      n_items: nItems,
      n_heads: cache.nHeads,
      head_dim: cache.headDim,
      is_value: isValue ? 1 : 0,
      fresh_token: fresh.tokenStride,
      fresh_head: fresh.headStride,
      cache_page: cache.rows.pageStride,
      cache_token: cache.rows.tokenStride,
      cache_head: cache.rows.headStride,
      page_size: pages?.pageSize ?? 1,
      n_pages: pages?.nPages ?? 0,
      rotary_pairs: rotary?.pairs ?? 0,
      is_interleaved: rotary?.interleaved ? 1 : 0,
      advances: advances ? 1 : 0,
      n_positions: rotary?.nPositions ?? 1,
      ...anglesParams('cos', rotary),
      ...anglesParams('sin', rotary),
      angle_type: dtypeCode(rotary?.cos),
    },
    bindings: {
      fresh: fresh.tensor,
      batch_info: batchInfo,
      items,
      block_table: pages?.table ?? null,
      cosines: rotary?.cos ?? null,
      sines: rotary?.sin ?? null,
      cache: cache.into ?? cache.rows.tensor,
    },
    grid: grid2d(Math.ceil(nPairs / constantOf(appendKvKernel, 'WG_SIZE')), maxWorkgroupsPerDimension),
  };
}

function anglesParams(name: 'cos' | 'sin', rotary: Rotary | null): Record<string, number> {
  const angles: SmallFloats | undefined = rotary?.[name];
  const position = angles && isTensor(angles) ? stridesOf(angles)[0]! : (rotary?.pairs ?? 0);
  return { [`${name}_base`]: firstElementOf(angles), [`${name}_position`]: position };
}

export interface AppendFeatures {
  readonly from: FloatDType;
  readonly to: FloatDType;
  /** Whether every row of the cache begins and ends with a whole word, if halves come in pairs. */
  readonly wholeWords: boolean;
  readonly paged: boolean;
  readonly rotary: boolean;
  readonly queries: boolean;
}

export function appendSpec({ from, to, wholeWords, paged, rotary, queries }: AppendFeatures) {
  const toHalves = bytesPerElement(to) === 2;
  return {
    FROM_F16: from === 'f16',
    FROM_BF16: from === 'bf16',
    FROM_HALVES: bytesPerElement(from) === 2,
    TO_F16: to === 'f16',
    TO_BF16: to === 'bf16',
    TO_HALVES: toHalves,
    TO_WORDS: toHalves && wholeWords,
    SAME: from === to,
    PAGED: paged,
    ROTARY: rotary,
    QUERIES: queries,
  };
}
