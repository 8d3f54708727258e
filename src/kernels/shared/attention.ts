import { grid2d, type Dispatch, type Scratch } from '../../core/dispatch.js';
import { hasScales, isQuantised, type FloatDType, type KvDType } from '../../core/dtype.js';
import type { ScaleDType } from '../../core/kvFormats.js';
import { scoreScale, type AttentionProblem, type PagedRows } from '../../problem/attentionProblem.js';
import { blockWords, sparesMaskMod } from '../../problem/blockMask.js';
import { masksByPosition, masksByTree } from '../../problem/tokenMasks.js';
import type { Kernel, Spec } from '../../wgsl/kernel.js';
import { batchInfoLayout, type BatchInfoLayout } from './batchInfo.js';
import { firstElementOf, hasMultiplesOf, isWide, outConditions } from './elements.js';
import { modsOf, withMods } from './mods.js';
import { optionalBuffersOf, withBuffers } from './optionalBuffers.js';

/** Work for one dispatch of an attention kernel. */
export interface AttentionWork {
  readonly problem: AttentionProblem;
  readonly batchInfo: Uint32Array | Scratch;
  /** Which of the items in `batchInfo` a dispatch takes: first, and one past the last. */
  readonly range: readonly [number, number];
  /** Where the parts of split keys go; null where keys are not split, so that results are final. */
  readonly parts: SplitParts | null;
  /** Where the queries are instead, laid out like q. */
  readonly rotatedQ: Scratch | null;
  /** Which tiles the items visit; null where that is for all of their bands. */
  readonly links: TileLinks | null;
  /** Where the output is left instead, to be turned, laid out like out. */
  readonly turnedOut?: Scratch | null;
  readonly maxWorkgroupsPerDimension: number;
}

/** What links the tiles of a work list; see tile_links.wgsl. */
export interface TileLinks {
  readonly links: Scratch;
  /** The first item that has any. */
  readonly firstItem: number;
  /** Words from one item to the next, and from one kv head to the next: 0 where heads share the masks. */
  readonly perItem: number;
  readonly perHead: number;
}

/** Room for the results of chunks: out f32 [parts, n_heads, row_elements], then sums f32 [parts, n_heads, 4]. */
export interface SplitParts {
  readonly scratch: Scratch;
  /** Elements from one head's output to the next. */
  readonly rowElements: number;
  /** Where the sums begin, in elements. */
  readonly sumsAt: number;
}

/** Of the maximum and the total of a row: a vector of its own, half of which is empty. */
export const SUMS_ELEMENTS = 4;

/** @param of whose parts they are, if there are others beside them */
export function splitParts({ nHeads, headDimV }: AttentionProblem, nParts: number, of = ''): SplitParts {
  const rowElements = Math.ceil(headDimV / 4) * 4;
  const sumsAt = nParts * nHeads * rowElements;
  return {
    scratch: { scratch: `parts${of}`, bytes: 4 * (sumsAt + nParts * nHeads * SUMS_ELEMENTS) },
    rowElements,
    sumsAt,
  };
}

/** What says which variant of a kernel runs a tile. */
export type SpecOf<Tile> = (tile: Tile, features: AttentionFeatures, split: boolean) => Spec;

/** Specs by tile, then by what else decides: a spec has so many parts that making one takes longer than planning a call. */
const specs = new WeakMap<object, Map<string, Spec>>();

function specFor<Tile extends object>(work: AttentionWork, tile: Tile, specOf: SpecOf<Tile>): Spec {
  const features = featuresOf(work.problem);
  const [split, linked] = [work.parts !== null, work.links !== null];
  let ofTile = specs.get(tile);
  if (!ofTile) specs.set(tile, (ofTile = new Map()));
  const key = JSON.stringify([features, split, linked]);
  let spec = ofTile.get(key);
  if (!spec) ofTile.set(key, (spec = { ...specOf(tile, features, split), LINKED: linked }));
  return spec;
}

/** A dispatch of one of the attention kernels, which share all of their parameters and bindings. */
export function attentionDispatch<Tile extends object>(
  kernel: Kernel,
  work: AttentionWork,
  tile: Tile,
  specOf: SpecOf<Tile>,
): Dispatch {
  const { problem, batchInfo, range, parts, rotatedQ, links, turnedOut, maxWorkgroupsPerDimension } = work;
  const { nKvHeads, q, k, v, out, lse } = problem;
  const bindings = {
    q: rotatedQ ?? q.tensor,
    k: k.tensor,
    v: v.tensor,
    batch_info: batchInfo,
    out: parts ? parts.scratch : (turnedOut ?? out.tensor),
    ...(lse && !parts && { lse: lse.tensor }),
    ...optionalBuffersOf(problem),
    ...(links && { tile_links: links.links }),
  };
  return {
    kernel: withBuffers(withMods(kernel, modsOf(problem.mods)), bindings),
    spec: specFor(work, tile, specOf),
    params: attentionParams(work),
    bindings,
    grid: grid2d((range[1] - range[0]) * nKvHeads, maxWorkgroupsPerDimension),
  };
}

/** `Params` of attention.wgsl. */
export function attentionParams({
  problem,
  range,
  parts,
  links,
}: Pick<AttentionWork, 'problem' | 'range' | 'parts' | 'links'>): Readonly<Record<string, number>> {
  const { nHeads, nKvHeads, q, k, v, out, lse, pages, masks, sinks, softcap, softmaxScale } = problem;
  const { mask, bias } = problem;
  const layout = batchInfoLayout(problem);
  const { slopesAt, slopesSequence, sinksAt, kScalesAt, vScalesAt, tokensAt, positionsAt, treeAt, itemsAt } =
    layout;
  const scale = scoreScale(softmaxScale, softcap);
  return {
    first_item: range[0],
    end_item: range[1],
    items_at: itemsAt,
    n_kv_heads: nKvHeads,
    group: nHeads / nKvHeads,
    head_dim: problem.headDim,
    head_dim_v: problem.headDimV,
    q_token: q.tokenStride,
    q_head: q.headStride,
    k_page: k.pageStride,
    k_token: k.tokenStride,
    k_head: k.headStride,
    v_page: v.pageStride,
    v_token: v.tokenStride,
    v_head: v.headStride,
    out_token: parts ? nHeads * parts.rowElements : out.tokenStride,
    out_head: parts ? parts.rowElements : out.headStride,
    lse_token: parts ? nHeads * SUMS_ELEMENTS : (lse?.tokenStride ?? 0),
    lse_head: parts ? SUMS_ELEMENTS : (lse?.headStride ?? 0),
    sums_at: parts?.sumsAt ?? 0,
    page_size: pages?.pageSize ?? 1,
    n_pages: pages?.nPages ?? 0,
    window_left: masks.left,
    window_right: masks.right,
    attention_chunk: masks.attentionChunk,
    score_scale: scale.factor,
    softcap_log2: scale.capLog2,
    slopes_at: slopesAt,
    slopes_sequence: slopesSequence,
    sinks_at: sinksAt,
    has_sinks: sinks ? 1 : 0,
    ...scaleParams(problem),
    k_scales_at: kScalesAt,
    v_scales_at: vScalesAt,
    mask_base: firstElementOf(mask?.tensor),
    mask_sequence: mask?.sequenceStride ?? 0,
    mask_token: mask?.tokenStride ?? 0,
    mask_head: mask?.headStride ?? 0,
    bias_base: firstElementOf(bias?.tensor),
    bias_sequence: bias?.sequenceStride ?? 0,
    bias_token: bias?.tokenStride ?? 0,
    bias_head: bias?.headStride ?? 0,
    first_keys: masks.firstKeys,
    is_causal: masks.causal ? 1 : 0,
    tokens_at: tokensAt,
    positions_at: positionsAt,
    tree_at: treeAt,
    tree_words: masks.tokens?.treeWords ?? 0,
    links_first: links?.firstItem ?? 0,
    links_item: links?.perItem ?? 0,
    links_head: links?.perHead ?? 0,
    ...blockParams(problem, layout),
  };
}

/** The bits of blocks in batch_info. */
function blockParams({ blocks }: AttentionProblem, { blocksAt, fullBlocksAt }: BatchInfoLayout) {
  const words = blocks ? blockWords(blocks) : 0;
  const nRows = blocks?.nRows ?? 0;
  return {
    blocks_at: blocksAt,
    full_blocks: fullBlocksAt - blocksAt,
    blocks_sequence: blocks && blocks.sequences > 1 ? blocks.heads * nRows * words : 0,
    blocks_head: blocks && blocks.heads > 1 ? nRows * words : 0,
    blocks_row: words,
    block_tokens: blocks?.rowTokens ?? 1,
    block_keys: blocks?.columnKeys ?? 1,
    n_blocks: Math.max(1, blocks?.nColumns ?? 1),
  };
}

/** Where the scales of a quantised cache are, in elements. */
function scaleParams({ scales, pages }: AttentionProblem) {
  const rows = scales?.per === 'token' ? scales : null;
  const pageStride = (each: PagedRows) => (pages ? each.pageStride : each.sequenceStride);
  return {
    k_scale_base: firstElementOf(rows?.k.tensor),
    k_scale_page: rows ? pageStride(rows.k) : 0,
    k_scale_token: rows?.k.tokenStride ?? 0,
    k_scale_head: rows?.k.headStride ?? 0,
    v_scale_base: firstElementOf(rows?.v.tensor),
    v_scale_page: rows ? pageStride(rows.v) : 0,
    v_scale_token: rows?.v.tokenStride ?? 0,
    v_scale_head: rows?.v.headStride ?? 0,
  };
}

/** Bytes of workgroup memory that variables of these sizes take: WebGPU counts each in steps of 16 bytes. */
export function variableBytes(sizes: readonly number[]): number {
  return sizes.reduce((total, size) => total + Math.ceil(size / 16) * 16, 0);
}

/**
 * Bytes of the variables in which a tile of so many keys has their offsets in pages, and where `scales` are looked up those
 * of scales: those of keys for one tile or two (see key_offsets), those of values for two.
 */
export function offsetBytes(
  keys: number,
  { paged, kvDType }: CacheKind,
  keyTiles: 1 | 2,
  scales = hasScales(kvDType),
): number[] {
  if (!paged) return [];
  return [keyTiles, 2, ...(scales ? [keyTiles, 2] : [])].map((tiles) => tiles * keys * 4);
}

/** What decides, beside a tile, which variant of an attention kernel a problem needs. */
export interface AttentionFeatures {
  readonly qDType: FloatDType;
  /** The caller's type of q where heads are turned, for which attention reads f32. Default: they are not. */
  readonly turnedDType?: FloatDType | undefined;
  readonly kvDType: KvDType;
  /** The type of the scales of i8 and i4; null where there are none. */
  readonly scaleDType: ScaleDType | null;
  /** Whether q can be read 16 bytes at a time. */
  readonly qWide: boolean;
  /** Whether k and v can; of quantised ones, whether octets (eight elements) can be read at a time. */
  readonly kvWide: boolean;
  /** Octets of a quantised k that can be read at a time, up to 16 bytes. */
  readonly keyRun: number;
  /** Whether out can be written four elements at a time. */
  readonly outWide: boolean;
  /** Whether halves of out can be written eight at a time. */
  readonly outOctets: boolean;
  /** Whether the lse of rows is asked for. Default false. */
  readonly lse?: boolean;
  readonly paged: boolean;
  readonly softcap: boolean;
  readonly alibi: boolean;
  readonly firstKeys: boolean;
  readonly mask: boolean;
  /** How the bias is stored, and whether it can be read four numbers at a time; null without one. */
  readonly bias: { readonly dtype: FloatDType; readonly wide: boolean } | null;
  readonly blocks?: boolean;
  /** Whether some are full, so that maskMod is not asked about them. */
  readonly fullBlocks?: boolean;
  /** Whether masks and ALiBi look at positions of query tokens. */
  readonly positions?: boolean;
  /** Whether query tokens see each other along a tree. */
  readonly tree?: boolean;
  /** Which mods there are. */
  readonly mods?: Readonly<Record<'scoreMod' | 'maskMod', boolean>>;
}

export function featuresOf({
  q,
  k,
  v,
  out,
  lse,
  pages,
  scales,
  softcap,
  slopes,
  masks,
  mask,
  bias,
  mods,
  blocks,
  turned,
  ...dims
}: AttentionProblem): AttentionFeatures {
  return {
    qDType: q.tensor.dtype as FloatDType,
    turnedDType: turned?.q.tensor.dtype as FloatDType | undefined,
    kvDType: k.tensor.dtype as KvDType,
    scaleDType: scales?.per === 'token' ? (scales.k.tensor.dtype as ScaleDType) : null,
    keyRun: keyRunOf(k, dims.headDim),
    qWide: isWide(q, dims.headDim),
    kvWide: isWide(k, dims.headDim) && isWide(v, dims.headDimV),
    outWide: hasMultiplesOf(4, out, dims.headDimV),
    outOctets: hasMultiplesOf(8, out, dims.headDimV),
    lse: lse !== null,
    paged: pages !== null,
    softcap: softcap > 0,
    alibi: slopes !== null,
    firstKeys: masks.firstKeys > 0,
    mask: mask !== null,
    bias: bias && {
      dtype: bias.tensor.dtype as FloatDType,
      wide: hasMultiplesOf(4, bias, bias.tensor.shape.at(-1)!),
    },
    blocks: blocks !== null,
    fullBlocks: sparesMaskMod({ blocks, mods }),
    positions: masksByPosition(masks),
    tree: masksByTree(masks),
    mods: { scoreMod: Boolean(mods?.scoreMod), maskMod: Boolean(mods?.maskMod) },
  };
}

/** Octets of a quantised k that rows allow to read at a time, up to 16 bytes; 1 of floats. */
function keyRunOf(k: PagedRows, headDim: number): number {
  const { dtype } = k.tensor;
  if (!isQuantised(dtype)) return 1;
  return [mostKeyRun(dtype), 2].find((run) => hasMultiplesOf(8 * run, k, headDim)) ?? 1;
}

/** Octets in 16 bytes of a quantised type. */
export function mostKeyRun(dtype: KvDType): number {
  if (!isQuantised(dtype)) return 1;
  return dtype === 'i4' ? 4 : 2;
}

/** What of a cache takes workgroup memory. */
export type CacheKind = Pick<AttentionFeatures, 'paged' | 'kvDType'>;

/** The conditions that both attention kernels have. `keyRun`: octets of a quantised key that are read at a time. */
export function attentionConditions(features: AttentionFeatures, split: boolean, keyRun = 1) {
  const {
    qDType,
    kvDType,
    scaleDType,
    qWide,
    kvWide,
    outWide,
    lse = false,
    paged,
    softcap,
    alibi,
    firstKeys,
    mask,
    bias,
    blocks = false,
    fullBlocks = false,
    positions = false,
    tree = false,
    mods = NO_MODS,
  } = features;
  const quantised = isQuantised(kvDType);
  const bytes = quantised && kvDType !== 'i4';
  const keyWords = keyRun * (bytes ? 2 : 1);
  return {
    Q_F16: qDType === 'f16',
    Q_BF16: qDType === 'bf16',
    Q_HALVES: qDType !== 'f32',
    Q_WIDE: qWide,
    KV_F16: kvDType === 'f16',
    KV_BF16: kvDType === 'bf16',
    KV_HALVES: kvDType === 'f16' || kvDType === 'bf16',
    KV_I8: kvDType === 'i8',
    KV_I4: kvDType === 'i4',
    KV_E4M3: kvDType === 'e4m3',
    KV_BYTES: bytes,
    KV_QUANTISED: quantised,
    KV_SCALES: scaleDType !== null,
    SCALES_F16: scaleDType === 'f16',
    SCALE_OFFSETS: scaleDType !== null && paged,
    KEYS_ONCE: false,
    KV_WIDE: kvWide,
    K_QUADS: kvWide && (!quantised || keyWords === 4),
    K_PAIRS: kvWide && quantised && keyWords === 2,
    V_QUADS: kvWide && !quantised,
    V_PAIRS: kvWide && bytes,
    ...outConditions(split ? 'f32' : qDType, split || outWide),
    PAGED: paged,
    SOFTCAP: softcap,
    ALIBI: alibi,
    FIRST_KEYS: firstKeys,
    SKIPS: firstKeys,
    MASK: mask,
    BIAS: bias !== null,
    BIAS_F16: bias?.dtype === 'f16',
    BIAS_BF16: bias?.dtype === 'bf16',
    BIAS_HALVES: bias !== null && bias.dtype !== 'f32',
    BIAS_WIDE: bias?.wide ?? false,
    BLOCKS: blocks,
    FULL_BLOCKS: fullBlocks,
    BY_TOKEN: positions || tree,
    POSITIONS: positions,
    TREE: tree,
    MODS: mods.scoreMod || mods.maskMod,
    SCORE_MOD: mods.scoreMod,
    MASK_MOD: mods.maskMod,
    HIDES:
      mask || bias !== null || blocks || positions || tree || mods.scoreMod === true || mods.maskMod === true,
    SPLIT: split,
    LSE: split || lse,
  };
}

const NO_MODS = { scoreMod: false, maskMod: false };
