import { TUNING_FORMAT, tunedDevice } from '../core/checkTuning.js';
import type { DeviceTraits } from '../core/deviceTraits.js';
import { isSameMatrix, type MatrixConfiguration } from '../core/matrixConfigurations.js';
import type { TunedDecode, TunedPrefill, Tuning } from '../core/tuning.js';
import { MERGE_CANDIDATES, mergeTile } from '../kernels/mergeStates.js';
import { chunkRule } from '../plan/chunkRule.js';
import { isDecode } from '../plan/attentionWork.js';
import { decodeCandidates } from '../plan/decodeTile.js';
import { deviceDefaults } from '../plan/deviceDefaults.js';
import { matrixDecodeCandidates, matrixPrefillCandidates } from '../plan/matrixTile.js';
import { prefillCandidates } from '../plan/prefillTile.js';
import {
  DECODE_SHAPE,
  isDecodeEntryFor,
  isMatrixEntry,
  isPrefillEntryFor,
  MATRIX_DECODE_SHAPE,
  MATRIX_PREFILL_SHAPE,
  PREFILL_SHAPE,
  shapeOf,
  tunedRows,
} from '../plan/tunedTiles.js';
import type { TunedModel } from './benchTensors.js';

/** A tuning to be tried. */
export interface Variation {
  /** What is different in it. */
  readonly name: string;
  readonly tuning: Tuning;
}

/** A tuning that changes nothing. */
export function defaultTuning(traits: DeviceTraits, info: Partial<GPUAdapterInfo> | undefined): Tuning {
  const { macsPerSecond, bytesPerSecond } = deviceDefaults(traits);
  return {
    format: TUNING_FORMAT,
    device: tunedDevice(traits, descriptionOf(info)),
    matrices: traits.matrices,
    rates: { macsPerSecond, bytesPerSecond },
    chunks: chunkRule(traits),
    merge: mergeTile(traits, 'chunks'),
    prefill: [],
    decode: [],
  };
}

/** A tuning for these matrices: tiles that were tuned for others are no tiles for them. */
export function withMatrices(tuning: Tuning, matrices: MatrixConfiguration | null): Tuning {
  const { matrices: before, prefill, decode } = tuning;
  if (before && matrices && isSameMatrix(before, matrices)) return tuning;
  return {
    ...tuning,
    matrices,
    prefill: prefill.filter((entry) => !isMatrixEntry(entry)),
    decode: decode.filter((entry) => !isMatrixEntry(entry)),
  };
}

/** What an adapter is called: on most systems by its driver. */
export function descriptionOf(info: Partial<GPUAdapterInfo> | undefined): string {
  return info?.description || info?.device || '';
}

/** A tuning as it is, then with each tile of attn_prefill and of attn_matrix that there is for a model's prompts. */
export function prefillVariations(tuning: Tuning, model: TunedModel, traits: DeviceTraits): Variation[] {
  const { headDim, headDimV, dtype, kvDType, paged } = model;
  const args = { headDim, headDimV, qDType: dtype, kvDType, paged };
  const others = tuning.prefill.filter((entry) => !isPrefillEntryFor(args, entry));
  const tiles = [
    ...prefillCandidates(traits, args).map((tile) => shapeOf(tile, PREFILL_SHAPE)),
    ...matrixPrefillCandidates(traits, args).map((tile) => shapeOf(tile, MATRIX_PREFILL_SHAPE)),
  ];
  return [
    { name: 'as it is', tuning },
    ...tiles.map((tile): Variation => {
      const entry: TunedPrefill = { headDim, headDimV, dtype, kvDType, tile };
      return { name: nameOf(tile), tuning: { ...tuning, prefill: [...others, entry] } };
    }),
  ];
}

/**
 * Likewise with each tile of attn_decode and of attn_matrix for one new token, unless so many large heads share a kv head that
 * attn_prefill takes it.
 */
export function decodeVariations(tuning: Tuning, model: TunedModel, traits: DeviceTraits): Variation[] {
  const { nHeads, nKvHeads, headDim, headDimV, dtype, kvDType, paged } = model;
  const args = { headDim, headDimV, qDType: dtype, kvDType, nRows: nHeads / nKvHeads, paged };
  if (!isDecode(1, args.nRows, headDim)) return [{ name: 'as it is', tuning }];
  const rows = tunedRows(args.nRows);
  const others = tuning.decode.filter((entry) => !isDecodeEntryFor(args, entry));
  const tiles = [
    ...decodeCandidates(traits, args).map((tile) => shapeOf(tile, DECODE_SHAPE)),
    ...matrixDecodeCandidates(traits, args).map((tile) => shapeOf(tile, MATRIX_DECODE_SHAPE)),
  ];
  return [
    { name: 'as it is', tuning },
    ...tiles.map((tile): Variation => {
      const entry: TunedDecode = { headDim, headDimV, kvDType, rows, tile };
      return { name: nameOf(tile), tuning: { ...tuning, decode: [...others, entry] } };
    }),
  ];
}

/** A tuning as it is, then with half and twice of both numbers that decide about chunks. */
export function chunkVariations(tuning: Tuning, factors: readonly number[] = [1, 0.5, 2]): Variation[] {
  const { workgroups, minKeys } = tuning.chunks;
  return factors.flatMap((ofWorkgroups) =>
    factors.map((ofKeys): Variation => {
      const chunks = {
        workgroups: Math.ceil(workgroups * ofWorkgroups),
        minKeys: Math.ceil(minKeys * ofKeys),
      };
      return { name: nameOf(chunks), tuning: { ...tuning, chunks } };
    }),
  );
}

/** A tuning as it is, then with each way to merge. */
export function mergeVariations(tuning: Tuning): Variation[] {
  return [
    { name: 'as it is', tuning },
    ...MERGE_CANDIDATES.map((merge): Variation => ({ name: nameOf(merge), tuning: { ...tuning, merge } })),
  ];
}

function nameOf(numbers: object): string {
  return Object.entries(numbers)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ');
}
