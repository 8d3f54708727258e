import { roundTo, type FloatDType } from '../../src/core/dtype.js';
import { elementCount } from '../../src/core/tensor.js';
import type { HostTensor } from '../../src/reference/attention.js';
import { rowOf, type AttentionOptions, type Sequence } from '../../src/reference/attend.js';
import { isFullFor } from '../../src/reference/blockMask.js';
import { addedTo } from '../../src/reference/keyRows.js';
import { eachKey } from '../../src/reference/masks.js';
import { modified } from '../../src/reference/mods.js';
import { NO_ROW } from '../../src/reference/hostTensor.js';
import type { QuantisedCache } from './quantisedCache.js';

// Keys that no row of their sequence sees may hold anything, and so may their values.

/** Keys or values [..., Hkv, D], and the same as codes and scales. */
export interface Rows {
  readonly values: HostTensor;
  readonly quantised?: QuantisedCache | undefined;
}

interface Batch {
  readonly sequences: readonly Sequence[];
  readonly options: AttentionOptions;
  readonly nHeads: number;
  readonly nKvHeads: number;
  /** Queries of all sequences. */
  readonly nTokens: number;
}

/** Writes numbers that would not stay unseen over keys and values that are hidden from all rows of a kv head. */
export function spoilHidden(batch: Batch, tensors: readonly Rows[], type: FloatDType | 'NaN'): void {
  const kinds = type === 'NaN' ? [[NaN]] : [[NaN], [Infinity, -Infinity, NaN, 1], finite(batch, type)];
  for (const { slot, kvHead } of hiddenHeads(batch)) {
    const row = slot * batch.nKvHeads + kvHead;
    for (const { values, quantised } of tensors) {
      const size = values.shape.at(-1)!;
      const data = values.data as Float32Array;
      const kind = kinds[slot % kinds.length]!;
      for (let d = 0; d < size; d++) data[row * size + d] = kind[d % kind.length]!;
      if (quantised) spoilCodes(quantised, row);
    }
  }
}

/** The largest numbers; where scoreMod hides keys of bf16, they would set the scale of others on subgroup matrices of f16. */
function finite({ options }: Batch, type: FloatDType): number[] {
  if (type === 'bf16' && options.scoreMod) return [1000, -1000];
  const largest = { f32: roundTo('f32', 3.4e38), f16: 65504, bf16: roundTo('bf16', 3.38e38) }[type];
  return [largest, largest, -largest];
}

/** As in slots that hold nothing. */
function spoilCodes({ dtype, bytes, scales, values }: QuantisedCache, row: number): void {
  const perHead = bytes.length / (elementCount(values.shape) / values.shape.at(-1)!);
  bytes.fill(0xff, row * perHead, (row + 1) * perHead);
  if (dtype === 'e4m3') return;
  const scalesPerHead = (elementCount(scales.shape) * perHead) / bytes.length;
  (scales.data as Float32Array).fill(NaN, row * scalesPerHead, (row + 1) * scalesPerHead);
}

/** The slots of keys that no row of a kv head sees, whichever sequence they belong to. */
function hiddenHeads(batch: Batch): { readonly slot: number; readonly kvHead: number }[] {
  const { sequences, options, nHeads, nKvHeads } = batch;
  const { mask, bias, blockMask, scoreMod, maskMod } = options;
  const headsDiffer = Boolean(mask ?? bias ?? blockMask ?? scoreMod ?? maskMod);
  const group = nHeads / nKvHeads;
  const isSeen = new Map<number, Uint8Array>();
  sequences.forEach((sequence, index) => {
    for (const slot of sequence.keyRows)
      if (slot !== NO_ROW && !isSeen.has(slot)) isSeen.set(slot, new Uint8Array(nKvHeads));
    for (let head = 0; head < (headsDiffer ? nHeads : 1); head++)
      for (let i = 0; i < sequence.nQueries; i++)
        eachSeenKey(batch, { sequence: index, head, i }, (j) => {
          const of = isSeen.get(sequence.keyRows[j]!)!;
          if (headsDiffer) of[Math.floor(head / group)] = 1;
          else of.fill(1);
        });
  });
  return [...isSeen].flatMap(([slot, seen]) =>
    Array.from(seen, (is, kvHead) => ({ is, slot, kvHead })).filter(({ is }) => is === 0),
  );
}

interface Row {
  readonly sequence: number;
  readonly head: number;
  readonly i: number;
}

/** Runs for each key that a row sees. Functions that change scores must hide keys whatever their score is. */
function eachSeenKey({ sequences, options, nTokens }: Batch, row: Row, run: (j: number) => void): void {
  const sequence = sequences[row.sequence]!;
  const place = rowOf(sequence, row.i, options, nTokens);
  const which = { ...row, firstQuery: sequence.firstQuery };
  const added = addedTo(options, which);
  const becomes = modified(options, { ...row, isFull: isFullFor(options.blockMask, which), ...place });
  eachKey(place.ranges, (j) => {
    if (sequence.keyRows[j] === NO_ROW || !place.sees(j)) return;
    const more = added(j);
    if (more > -Infinity && becomes(0, j) > -Infinity) run(j);
  });
}
