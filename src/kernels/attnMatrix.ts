import type { MatrixConfiguration } from '../core/deviceTraits.js';
import type { Dispatch } from '../core/dispatch.js';
import type { Spec } from '../wgsl/kernel.js';
import attnMatrixKernel from './attn_matrix.wgsl';
import {
  attentionConditions,
  attentionDispatch,
  offsetBytes,
  variableBytes,
  type AttentionFeatures,
  type AttentionWork,
  type CacheKind,
} from './shared/attention.js';

export { attnMatrixKernel };

/** How a workgroup of attn_matrix divides its work; the constants of the kernel say more. */
export interface MatrixTile {
  /** What a matrix multiplication takes. */
  readonly matrices: MatrixConfiguration;
  /** Invocations of a subgroup. */
  readonly subgroup: number;
  /** Whether the entry point demands subgroups of that size. */
  readonly pinned: boolean;
  /** Whether they may be smaller. */
  readonly varying: boolean;
  /** Strips of rows. */
  readonly strips: number;
  /** Subgroups that share the rows of a strip, each with some of the keys and of the output's dims. */
  readonly parts: number;
  /** Matrices of rows in a strip. */
  readonly rowBlocks: number;
  /** Keys of a tile. */
  readonly keys: number;
  /** Whether keys and values are loaded ahead, into registers. */
  readonly ahead: boolean;
  /** Dims of q and k, padded with zeros. */
  readonly dims: number;
  /** Dims of v and out, likewise. */
  readonly dimsV: number;
  /** Whether any are. */
  readonly padded: boolean;
}

/** Rows of a tile. */
export function matrixTileRows({ strips, rowBlocks, matrices }: MatrixTile): number {
  return strips * rowBlocks * matrices.M;
}

export function matrixInvocations({ strips, parts, subgroup }: MatrixTile): number {
  return strips * parts * subgroup;
}

/** Invocations that share a row where it is weighed. */
export function matrixRowLanes(tile: MatrixTile): number {
  return matrixInvocations(tile) / matrixTileRows(tile);
}

/** What decides how exactly scores are to be computed. */
export type MatrixOperands = Pick<AttentionFeatures, 'qDType' | 'turnedDType' | 'kvDType' | 'lse'>;

/**
 * Which operands of scores are two matrices, one of what f16 holds of them and one of the rest: turned queries, which are f32,
 * and i4, whose codes times scales have more digits. Scores of outputs in bf16 do not show it, but their lse, which is f32.
 */
export function splitOperands(
  { componentType }: MatrixConfiguration,
  { qDType, turnedDType, kvDType, lse = false }: MatrixOperands,
): { readonly q: boolean; readonly k: boolean } {
  const isExact = componentType === 'f16' && (lse || (turnedDType ?? qDType) === 'f16');
  return { q: isExact && turnedDType !== undefined, k: isExact && kvDType === 'i4' };
}

/** Bytes of workgroup memory that a tile takes: those of a variant that scales its operands. */
export function matrixWorkgroupBytes(tile: MatrixTile, cache: CacheKind & MatrixOperands): number {
  const { keys, dims, dimsV, matrices } = tile;
  const elementBytes = matrices.componentType === 'f16' ? 2 : 4;
  const rows = matrixTileRows(tile);
  return variableBytes([
    keys * (dims * (splitOperands(matrices, cache).k ? 2 : 1) * elementBytes + 16),
    keys * (dimsV * elementBytes + 16),
    rows * (keys * 4 + 16),
    rows * (keys * elementBytes + 16),
    16,
    16,
    // Scales of keys and of values, and bounds of these; in place of their offsets.
    ...(cache.kvDType === 'i8' ? [keys * 4, keys * 4, keys * 4] : []),
    ...offsetBytes(keys, cache, 1, cache.kvDType === 'i4'),
  ]);
}

/** Attention of several query rows by subgroup matrices: a tile of rows in each workgroup. */
export function attnMatrixDispatch(work: AttentionWork, tile: MatrixTile): Dispatch {
  return attentionDispatch(attnMatrixKernel, work, tile, matrixSpec);
}

export function matrixSpec(tile: MatrixTile, features: AttentionFeatures, split: boolean): Spec {
  const { matrices, subgroup, pinned, varying, strips, parts, rowBlocks, keys, ahead, dims, dimsV, padded } =
    tile;
  const { M, N, K, componentType } = matrices;
  const { qDType, kvDType, qWide, kvWide, outOctets } = features;
  const invocations = matrixInvocations(tile);
  const rowLanes = matrixRowLanes(tile);
  const f16Tiles = componentType === 'f16';
  const rows = matrixTileRows(tile);
  const splits = splitOperands(matrices, features);
  // Lines of both tiles, of which those of keys have room for queries. Matrices of rows are not torn apart.
  const wordsOf = (size: number) => (size * (f16Tiles ? 2 : 4)) / 16 + 1;
  const keyWords = wordsOf(dims * (splits.k ? 2 : 1));
  const lines = keys + Math.floor((keys * wordsOf(dimsV)) / keyWords);
  const qLines = Math.min(rows, Math.floor(lines / M) * M);
  const qScaled = f16Tiles && qDType !== 'f16';
  const kvScaled = f16Tiles && (kvDType === 'bf16' || kvDType === 'i4');
  const converted = f16Tiles && !split && qDType === 'f16';
  const qRaw = qWide && qDType !== 'f32';
  const raw = kvWide && (kvDType === 'f16' || kvDType === 'bf16');
  const copied = raw && f16Tiles && kvDType === 'f16';
  const paired = f16Tiles && (kvDType === 'i8' || kvDType === 'e4m3');
  const conditions = attentionConditions(features, split);
  return {
    ...conditions,
    WG_SIZE: invocations,
    TILE_KEYS: keys,
    PREFETCH: false,
    M,
    N,
    K,
    SUBGROUP: subgroup,
    STRIPS: strips,
    PARTS: parts,
    ROW_BLOCKS: rowBlocks,
    KEY_BLOCKS: keys / N / parts,
    OUT_BLOCKS: dimsV / N / parts,
    HEAD_STEPS: dims / K,
    KEY_STEPS: keys / K,
    Q_LINES: qLines,
    Q_TURNS: Math.ceil(rows / qLines),
    Q_LOADS: Math.ceil((qLines * dims) / 8 / invocations),
    K_LOADS: Math.ceil((keys * dims) / 8 / invocations),
    V_LOADS: Math.ceil((keys * dimsV) / 8 / invocations),
    LOOKUPS: Math.ceil(keys / invocations),
    LANE_OCTETS: keys / 8 / rowLanes,
    OUT_TURNS: Math.ceil((parts * N) / 8 / rowLanes),
    ROW_LANES: rowLanes,
    ROW_LANE_BITS: Math.log2(rowLanes),
    // Lanes of a row are far apart, so that neighbours read different rows, where subgroups are known to be large enough.
    LANE_STEP: varying ? 1 : subgroup / rowLanes,
    ROLLED: false,
    F16_TILES: f16Tiles,
    SCALED: qScaled || kvScaled,
    Q_SCALED: qScaled,
    KV_SCALED: kvScaled,
    Q_SPLIT: splits.q,
    K_SPLIT: splits.k,
    Q_RAW: qRaw,
    Q_COPIED: qRaw && f16Tiles && qDType === 'f16' && !paired,
    RAW: raw,
    COPIED: copied,
    PAIRED: paired,
    CHECKS_VALUES: conditions.HIDES && kvDType !== 'i8',
    // Scales of i8 are looked up instead.
    SCALE_OFFSETS: kvDType === 'i4' && features.paged,
    KEYS_ONCE: features.paged,
    PADDED: padded,
    OUT_CONVERTED: converted,
    // Weights of values sum to 1 or less, so results are within the range of f16 as values are.
    OUT_BOUNDED: converted && kvDType === 'f16',
    OUT_OCTETS: converted && outOctets,
    AHEAD: ahead,
    LOOPS: !ahead,
    PINNED: pinned,
    VARYING: varying,
    SUBGROUPS: true,
  };
}
