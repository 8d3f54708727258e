import type { DeviceTraits } from '../../src/core/deviceTraits.js';
import type { Dispatch } from '../../src/core/dispatch.js';
import type { FloatDType } from '../../src/core/dtype.js';
import { splitParts, type SplitParts } from '../../src/kernels/shared/attention.js';
import { attnPrefillDispatch, prefillTileKeys, prefillTileRows } from '../../src/kernels/attnPrefill.js';
import { hostBatchInfo, packItems, type WorkItem } from '../../src/kernels/shared/batchInfo.js';
import { mergeChunksDispatch, packSplitTokens, type SplitToken } from '../../src/kernels/mergeStates.js';
import { prefillTile } from '../../src/plan/prefillTile.js';
import { chooseSplits, sequencesOf } from '../../src/plan/splits.js';
import type { DecodeProblem } from '../cases/decodeProblem.js';

/** A decode step by attn_prefill, with the tiles and chunks of a prompt. A plan would choose attn_decode, unless heads are large and many. */
export function decodeByPrefill({ problem, lengths }: DecodeProblem, traits: DeviceTraits): Dispatch[] {
  const { maxWorkgroupsPerDimension } = traits;
  const dtypes = {
    qDType: problem.q.tensor.dtype as FloatDType,
    kvDType: problem.k.tensor.dtype as FloatDType,
  };
  const tile = prefillTile(traits, { ...problem, ...dtypes, paged: true });
  const size = { isDecode: false, tileRows: prefillTileRows(tile), tileKeys: prefillTileKeys(tile) };
  const sequences = sequencesOf(problem, lengths)
    .map((sequence) => ({ ...sequence, ...size }))
    .toSorted((a, b) => b.kLen - a.kLen);
  const chunkCounts = chooseSplits(problem, sequences, traits);

  const whole: WorkItem[] = [];
  const chunks: WorkItem[] = [];
  const merges: SplitToken[] = [];
  let nParts = 0;
  sequences.forEach(({ sequence, nRows }, i) => {
    const nChunks = chunkCounts[i]!;
    const items = nChunks > 1 ? chunks : whole;
    for (let rowTile = 0; rowTile * size.tileRows < nRows; rowTile++) {
      for (let chunk = 0; chunk < nChunks; chunk++) {
        items.push({ sequence, rowTile, chunk, nChunks, firstPart: nParts });
      }
    }
    if (nChunks === 1) return;
    merges.push({ sequence, token: 0, firstPart: nParts, nParts: nChunks });
    nParts += nChunks;
  });

  const batchInfo = hostBatchInfo(problem, lengths, packItems([chunks, whole]));
  const shared = { problem, batchInfo, maxWorkgroupsPerDimension };
  const parts = splitParts(problem, nParts);
  const attend = (first: number, end: number, into: SplitParts | null): Dispatch[] => {
    if (first === end) return [];
    const work = { ...shared, range: [first, end] as const, parts: into, rotatedQ: null, links: null };
    return [attnPrefillDispatch(work, tile)];
  };
  const maxParts = Math.max(...chunkCounts);
  const merge =
    nParts > 0
      ? [
          mergeChunksDispatch({
            ...shared,
            items: packSplitTokens(merges),
            parts,
            maxParts,
            sharedParts: null,
            traits,
          }),
        ]
      : [];
  const nItems = chunks.length + whole.length;
  return [...attend(0, chunks.length, parts), ...attend(chunks.length, nItems, null), ...merge];
}
