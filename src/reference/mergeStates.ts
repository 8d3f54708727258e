import { describe, fail, PageflashError } from '../core/errors.js';
import type { AttentionResult } from './attend.js';
import { checkTensors } from './hostTensor.js';

/**
 * Combines attention over parts of the keys into attention over all of them: with w_c = exp(lse_c − lse),
 *
 *     lse = ln Σ_c exp(lse_c)      out = Σ_c w_c · out_c
 *
 * Each part has out [B, Sq, Hq, Dv] and lse [B, Hq, Sq], or out [totalQ, Hq, Dv] and lse [Hq, totalQ]. A part whose
 * lse is −∞ saw no keys; its out counts for nothing, whatever it holds. A sink belongs to one part only.
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
