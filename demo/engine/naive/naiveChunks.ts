/** The sequences of a step: B of them, whose new tokens lie end to end. */
export interface NaiveStep {
  /** [B]: the row of the cache that each sequence has */
  readonly slots: ArrayLike<number>;
  /** [B]: tokens in the cache before the new ones */
  readonly cacheSeqlens: ArrayLike<number>;
  /** [B + 1], from 0: sequence b has the new tokens cuSeqlensQ[b] to cuSeqlensQ[b + 1] − 1 */
  readonly cuSeqlensQ: ArrayLike<number>;
}

/** Queries of one sequence whose scores are in memory at once. */
export interface Chunk {
  readonly firstRow: number;
  readonly nRows: number;
  readonly firstPosition: number;
  readonly slot: number;
  readonly nKeys: number;
  /** Scores of other chunks of the wave before its own. */
  readonly scoresBase: number;
}

/** Chunks whose scores are in memory together: one dispatch for each of the three kernels. */
export type Wave = readonly Chunk[];

export interface ScoresLimits {
  readonly nHeads: number;
  /** Numbers that the buffer of scores holds: at least those of one query. */
  readonly maxScores: number;
  /** Rows of a chunk. */
  readonly maxRows: number;
  /** Chunks of a wave. */
  readonly maxChunks: number;
}

/** Cuts a step into waves, each with as many queries as the buffer of scores has room for. */
export function wavesOf(
  { slots, cacheSeqlens, cuSeqlensQ }: NaiveStep,
  { nHeads, maxScores, maxRows, maxChunks }: ScoresLimits,
): readonly Wave[] {
  const waves: Chunk[][] = [[]];
  let nScores = 0;
  for (let b = 0; b < slots.length; b++) {
    const end = cuSeqlensQ[b + 1]!;
    for (let row = cuSeqlensQ[b]!; row < end;) {
      const firstPosition = cacheSeqlens[b]! + row - cuSeqlensQ[b]!;
      const most = Math.min(end - row, maxRows);
      let nRows = rowsThatFit(firstPosition, most, (maxScores - nScores) / nHeads);
      if (nRows === 0 || waves.at(-1)!.length === maxChunks) {
        waves.push([]);
        nScores = 0;
        nRows = rowsThatFit(firstPosition, most, maxScores / nHeads);
      }
      const nKeys = firstPosition + nRows;
      waves
        .at(-1)!
        .push({ firstRow: row, nRows, firstPosition, slot: slots[b]!, nKeys, scoresBase: nScores });
      nScores += nRows * nHeads * nKeys;
      row += nRows;
    }
  }
  return waves.filter((wave) => wave.length > 0);
}

/** The largest n of at most `most` with n · (firstPosition + n) ≤ room. */
function rowsThatFit(firstPosition: number, most: number, room: number): number {
  const n = Math.floor((Math.sqrt(firstPosition ** 2 + 4 * room) - firstPosition) / 2);
  const fits = (rows: number): boolean => rows * (firstPosition + rows) <= room;
  // The root may be off by rounding.
  return Math.min(most, fits(n + 1) ? n + 1 : fits(n) ? n : n - 1);
}

export interface StepLimits {
  readonly nSlots: number;
  readonly capacity: number;
  readonly maxRows: number;
}

/** @throws RangeError for a step that there is no room for */
export function checkStep(step: NaiveStep, { nSlots, capacity, maxRows }: StepLimits): void {
  const { slots, cacheSeqlens, cuSeqlensQ } = step;
  const batch = slots.length;
  expect(cacheSeqlens.length === batch, `cacheSeqlens has ${cacheSeqlens.length} numbers, not ${batch}.`);
  expect(cuSeqlensQ.length === batch + 1, `cuSeqlensQ has ${cuSeqlensQ.length} numbers, not ${batch + 1}.`);
  expect(cuSeqlensQ[0] === 0, `cuSeqlensQ begins with ${cuSeqlensQ[0]}, not 0.`);
  const nRows = cuSeqlensQ[batch]!;
  expect(nRows <= maxRows, `the step has ${nRows} tokens, and there is room for ${maxRows}.`);
  const taken = new Set<number>();
  for (let b = 0; b < batch; b++) {
    const [slot, nNew] = [slots[b]!, cuSeqlensQ[b + 1]! - cuSeqlensQ[b]!];
    expect(nNew >= 0, `cuSeqlensQ goes down after sequence ${b}.`);
    expect(slot >= 0 && slot < nSlots, `slots[${b}] is ${slot}, and the cache has rows 0 to ${nSlots - 1}.`);
    expect(!taken.has(slot), `sequences share row ${slot} of the cache.`);
    taken.add(slot);
    const nTokens = cacheSeqlens[b]! + nNew;
    expect(
      nTokens <= capacity,
      `sequence ${b} has ${nTokens} tokens, and the cache holds ${capacity} of each.`,
    );
  }
}

function expect(condition: boolean, sentence: string): asserts condition {
  if (!condition) throw new RangeError(`naive attention: ${sentence}`);
}
