import { visibleKeys } from '../../src/reference/masks.js';
import { rowOf, type Inputs } from './inputs.js';
import { alibiSlopes, type Settings } from './settings.js';

/** Probabilities of one head of a sequence, downsampled to a grid of cells. */
export interface Pattern {
  readonly nQueries: number;
  readonly nKeys: number;
  /** Rows of cells. Each shows the middle one of the queries that it stands for. */
  readonly nRows: number;
  /** Columns of cells. Each sums the probabilities of neighbouring keys. */
  readonly nCols: number;
  /** [nRows, nCols]: probability relative to the largest cell of the row; −1 if all keys of the cell are masked. */
  readonly cells: Float32Array;
}

const MAX_ROWS = 256;
const MAX_COLS = 320;
/** Limit of multiply-adds for a picture: about a fifth of a second. */
const MAX_MACS = 1e8;

/** Compute the probabilities on the CPU, straight from their definition. */
export function computePattern(
  settings: Settings,
  inputs: Inputs,
  { sequence, head }: { readonly sequence: number; readonly head: number },
): Pattern {
  const { nHeads, nKvHeads, headDim, alibi } = settings;
  const { nQueries, nKeys } = settings.sequences[sequence]!;
  const affordable = Math.max(16, Math.floor(MAX_MACS / Math.max(1, nKeys * headDim)));
  const nRows = Math.min(nQueries, MAX_ROWS, affordable);
  const nCols = Math.min(nKeys, MAX_COLS);
  const slope = alibi ? alibiSlopes(nHeads)[head]! : 0;
  const kvHead = Math.floor(head / (nHeads / nKvHeads));
  const keys = Array.from({ length: nKeys }, (_, j) =>
    rowOf(inputs.k, inputs.cuSeqlensK[sequence]! + j, kvHead),
  );

  const cells = new Float32Array(nRows * nCols).fill(-1);
  for (let row = 0; row < nRows; row++) {
    const query = Math.floor(((row + 0.5) * nQueries) / nRows);
    const position = query + nKeys - nQueries;
    const { begin, end } = visibleKeys(position, nKeys, 0, settings);
    const q = rowOf(inputs.q, inputs.cuSeqlensQ[sequence]! + query, head);
    const scores = new Float64Array(Math.max(0, end - begin));
    for (let j = begin; j < end; j++) {
      scores[j - begin] = capped(dot(q, keys[j]!), settings) - slope * Math.abs(position - j);
    }
    const largest = scores.reduce((most, score) => Math.max(most, score), -Infinity);
    const rowCells = cells.subarray(row * nCols, (row + 1) * nCols);
    scores.forEach((score, i) => {
      const col = Math.floor(((begin + i) * nCols) / nKeys);
      rowCells[col] = Math.max(0, rowCells[col]!) + Math.exp(score - largest);
    });
    const best = rowCells.reduce((most, cell) => Math.max(most, cell), 0);
    rowCells.forEach((cell, col) => {
      if (cell > 0) rowCells[col] = cell / best;
    });
  }
  return { nQueries, nKeys, nRows, nCols, cells };
}

function capped(product: number, { headDim, softcap }: Settings): number {
  const score = product / Math.sqrt(headDim);
  return softcap > 0 ? softcap * Math.tanh(score / softcap) : score;
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let d = 0; d < a.length; d++) sum += a[d]! * b[d]!;
  return sum;
}
