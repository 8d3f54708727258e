import type { DeviceTraits } from '../../src/core/deviceTraits.js';
import type { Dispatch } from '../../src/core/dispatch.js';
import type { FloatDType } from '../../src/core/dtype.js';
import { chunkWord, splitParts, type SplitParts } from '../../src/kernels/shared/attention.js';
import { attnPrefill, tileKeys, tileRows } from '../../src/kernels/attnPrefill.js';
import { hostTables } from '../../src/kernels/shared/batchInfo.js';
import { mergeSplits } from '../../src/kernels/mergeStates.js';
import { prefillTile } from '../../src/plan/prefillTile.js';
import { spansOf } from '../../src/plan/spans.js';
import { chooseSplits } from '../../src/plan/splits.js';
import type { DecodeProblem } from '../cases/decodeProblem.js';

/** A decode step by attn_prefill, with the tiles and chunks of a prompt. A plan would always choose attn_decode. */
export function decodeByPrefill({ problem, lengths }: DecodeProblem, traits: DeviceTraits): Dispatch[] {
  const { maxWorkgroupsPerDimension } = traits;
  const dtypes = {
    qDType: problem.q.tensor.dtype as FloatDType,
    kvDType: problem.k.tensor.dtype as FloatDType,
  };
  const tile = prefillTile(traits, { ...problem, ...dtypes, paged: true });
  const size = { isDecode: false, tileRows: tileRows(tile), tileKeys: tileKeys(tile) };
  const routes = spansOf(problem, lengths)
    .map((span) => ({ ...span, ...size }))
    .toSorted((a, b) => b.kLen - a.kLen);
  const splits = chooseSplits(problem, routes, traits);

  const whole: number[] = [];
  const chunks: number[] = [];
  const merges: number[] = [];
  let nSlots = 0;
  routes.forEach(({ sequence, nRows }, i) => {
    const nChunks = splits[i]!;
    const items = nChunks > 1 ? chunks : whole;
    for (let rowTile = 0; rowTile * size.tileRows < nRows; rowTile++) {
      for (let chunk = 0; chunk < nChunks; chunk++) {
        items.push(sequence, rowTile, chunkWord(chunk, nChunks), nSlots);
      }
    }
    if (nChunks === 1) return;
    merges.push(sequence, 0, nSlots, nChunks);
    nSlots += nChunks;
  });

  const shared = { problem, tables: hostTables(problem, lengths), maxWorkgroupsPerDimension };
  const parts = splitParts(problem, nSlots);
  const attend = (items: readonly number[], into: SplitParts | null): Dispatch[] => {
    if (items.length === 0) return [];
    const range = [0, items.length / 4] as const;
    const work = { ...shared, items: Uint32Array.from(items), range, parts: into, rotatedQ: null };
    return [attnPrefill(work, tile)];
  };
  const merge = nSlots > 0 ? [mergeSplits({ ...shared, items: Uint32Array.from(merges), parts })] : [];
  return [...attend(chunks, parts), ...attend(whole, null), ...merge];
}
