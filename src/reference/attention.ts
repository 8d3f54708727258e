/**
 * The same functions in f64 by their definitions, on plain arrays.
 *
 * @module pageflash/reference
 */

import { describe, fail, PageflashError } from '../core/errors.js';
import { attend, type AttentionOptions, type AttentionResult } from './attend.js';
import { checkTensors, type HostTensor } from './hostTensor.js';
import { turnBack, turnHeads } from './turned.js';
import { denseSequences, varlenSequences, type DenseBatch, type RaggedBatch } from './sequences.js';

export type { AttentionOptions, AttentionResult } from './attend.js';
export {
  attnWithKvCacheReference,
  type AttnWithKvCacheReferenceArgs,
  type AttnWithKvCacheResult,
} from './attnWithKvCache.js';
export {
  dequantiseHead,
  packCodes,
  quantiseHead,
  unpackCodes,
  type QuantisedHead,
  type ScaleDType,
  type Scaling,
} from '../core/kvFormats.js';
export { attnWeightsReference, type AttnWeightsReferenceArgs } from './attnWeights.js';
export type { HostBlockMask, HostInt32s } from './blockMask.js';
export type { HostFloats, HostInts, HostTensor } from './hostTensor.js';
export type { HostWords, KeyRowOptions } from './keyRows.js';
export type { ModOptions } from './mods.js';
export type { DenseBatch, RaggedBatch } from './sequences.js';

// Attention by its definition, in f64 on the host: what every kernel must equal. Shapes in comments use B sequences, Sq
// queries and Sk keys of each, totalQ and totalK of all, Hq heads and Hkv kv heads, head sizes D of q and k, Dv of v.

/** The arguments of `attnReference`. */
export interface AttnReferenceArgs extends DenseBatch, AttentionOptions {
  /** [B, Sk, Hkv, Dv] */
  readonly v: HostTensor;
}

/**
 * Returns the attention of a dense batch: out [B, Sq, Hq, Dv] and lse [B, Hq, Sq].
 *
 * @throws PageflashError `argument` or `shape` for tensors that do not fit
 */
export function attnReference({ q, k, v, ...options }: AttnReferenceArgs): AttentionResult {
  checkTensors('attnReference', { q, k, v });
  const { sequences, lseShape } = denseSequences({ q, k });
  return attend({ q, k, v, sequences, lseShape, options });
}

/** The arguments of `attnVarlenReference`. */
export interface AttnVarlenReferenceArgs extends RaggedBatch, AttentionOptions {
  /** [totalK, Hkv, Dv], or pages [P, pageSize, Hkv, Dv] with `blockTable` */
  readonly v: HostTensor;
}

/**
 * Returns the attention of sequences that lie end to end: out [totalQ, Hq, Dv] and lse [Hq, totalQ]. Rows that belong to
 * no sequence are 0, with lse −∞.
 *
 * @throws PageflashError `argument`, `shape` or `length` for arguments that do not fit
 */
export function attnVarlenReference(args: AttnVarlenReferenceArgs): AttentionResult {
  const { q, k, v, ...options } = args;
  checkTensors('attnVarlenReference', { q, k, v });
  const { sequences, lseShape } = varlenSequences(args);
  if (!args.kvRotation) return attend({ q, k, v, sequences, lseShape, options });
  return turnBack(attend({ q: turnHeads(q), k, v, sequences, lseShape, options }), args.storage);
}

/**
 * Returns the attention over all keys, from its results over parts of the keys: with w_c = exp(lse_c − lse),
 *
 *     lse = ln Σ_c exp(lse_c)      out = Σ_c w_c · out_c
 *
 * Each part has out [B, Sq, Hq, Dv] and lse [B, Hq, Sq], or out [totalQ, Hq, Dv] and lse [Hq, totalQ]. A part whose lse
 * is −∞ saw no keys, so its out is ignored, whatever it contains. Pass a sink to one part only.
 *
 * @throws PageflashError `argument` or `shape` for parts that do not fit
 */
export function mergeStatesReference(partials: readonly AttentionResult[]): AttentionResult {
  const caller = 'mergeStatesReference';
  if (!Array.isArray(partials))
    fail('argument', caller, `the parts must be one array, [{ out, lse }, …], not ${describe(partials)}.`);
  partials.forEach((part: AttentionResult, i) =>
    checkTensors(caller, { [`parts[${i}].out`]: part.out, [`parts[${i}].lse`]: part.lse }),
  );
  const [first] = partials as readonly AttentionResult[];
  if (!first) throw new PageflashError('argument', 'mergeStates: there is no part to merge.');
  const [nQueries, nHeads, headDim] = first.out.shape.slice(-3) as [number, number, number];
  const out = new Float64Array(first.out.data.length);
  const lse = new Float64Array(first.lse.data.length).fill(-Infinity);

  for (let index = 0; index < lse.length; index++) {
    const largest = Math.max(...partials.map((part) => part.lse.data[index]!));
    if (largest === -Infinity) continue;
    const sum = partials.reduce((total, part) => total + Math.exp(part.lse.data[index]! - largest), 0);
    lse[index] = largest + Math.log(sum);

    // lse index = (b · Hq + head) · Sq + i; out row = (b · Sq + i) · Hq + head
    const i = index % nQueries;
    const head = Math.floor(index / nQueries) % nHeads;
    const b = Math.floor(index / (nQueries * nHeads));
    const offset = ((b * nQueries + i) * nHeads + head) * headDim;
    for (const part of partials) {
      const weight = Math.exp(part.lse.data[index]! - largest) / sum;
      if (weight === 0) continue;
      for (let d = 0; d < headDim; d++) out[offset + d]! += weight * part.out.data[offset + d]!;
    }
  }
  return { out: { data: out, shape: first.out.shape }, lse: { data: lse, shape: first.lse.shape } };
}
