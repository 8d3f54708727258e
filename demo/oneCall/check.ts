import type { FloatDType } from '../../src/index.js';
import { attnVarlenReference } from '../../src/reference/attention.js';
import { visibleKeys } from '../../src/reference/masks.js';
import { Random } from '../../tools/random.js';
import { rowOf, type Inputs } from './inputs.js';
import { alibiSlopes, sinkScores, totalQueries, type Settings } from './settings.js';

/** What the GPU computed. */
export interface Computed {
  /** [totalQ, Hq, D] */
  readonly out: Float32Array;
  /** [Hq, totalQ] */
  readonly lse: Float32Array;
}

export interface Verdict {
  readonly correct: boolean;
  readonly nChecked: number;
  readonly nRows: number;
  readonly maxError: number;
  readonly allowedError: number;
  readonly maxLseError: number;
  readonly allowedLseError: number;
}

/** One query of one head. */
interface Row {
  readonly sequence: number;
  readonly query: number;
  readonly head: number;
}

const MAX_ROWS = 96;
/** Limit of the reference's multiply-adds: about half a second. */
const MAX_MACS = 1.5e8;
const LSE_TOLERANCE = 1e-4;

/** Compare some rows of the GPU's result with the f64 reference, among them the first and last rows of sequences. */
export function checkSamples(settings: Settings, inputs: Inputs, { out, lse }: Computed): Verdict {
  const { dtype, headDim, nHeads, softcap } = settings;
  const totalQ = totalQueries(settings);
  let largest = 0;
  let maxError = 0;
  let maxEmulationError = 0;
  let maxLseError = 0;
  let macs = 0;
  let nChecked = 0;

  for (const row of sampleRows(settings)) {
    const problem = rowProblem(settings, inputs, row);
    macs += problem.macs;
    if (macs > MAX_MACS && nChecked > 0) break;
    const token = inputs.cuSeqlensQ[row.sequence]! + row.query;
    const want = attnVarlenReference(problem.args);
    const emulated =
      dtype === 'f32' ? undefined : attnVarlenReference({ ...problem.args, storage: dtype }).out.data;
    const start = (token * nHeads + row.head) * headDim;
    for (let d = 0; d < headDim; d++) {
      const exact = want.out.data[d]!;
      largest = Math.max(largest, Math.abs(exact));
      maxError = worse(maxError, Math.abs(out[start + d]! - exact));
      if (emulated) maxEmulationError = Math.max(maxEmulationError, Math.abs(emulated[d]! - exact));
    }
    maxLseError = worse(maxLseError, lseError(lse[row.head * totalQ + token]!, want.lse.data[0]!));
    nChecked++;
  }
  const allowedError = allowed({ dtype, softcap, largest, maxEmulationError });
  return {
    correct: maxError <= allowedError && maxLseError <= LSE_TOLERANCE,
    nChecked,
    nRows: totalQ * nHeads,
    maxError,
    allowedError,
    maxLseError,
    allowedLseError: LSE_TOLERANCE,
  };
}

interface Bound {
  readonly dtype: FloatDType;
  readonly softcap: number;
  readonly largest: number;
  readonly maxEmulationError: number;
}

/** The tolerance of the library's own tests. For f16 and bf16 it is relative to the error of the reference with rounding. */
function allowed({ dtype, softcap, largest, maxEmulationError }: Bound): number {
  if (dtype === 'f32') return 1e-5 * Math.max(1, largest);
  return (softcap > 0 ? 3 : 2) * maxEmulationError + 1e-5;
}

/** The first and last queries of sequences, then random queries; each in a random head, none twice. */
function sampleRows(settings: Settings): Row[] {
  const { sequences, nHeads, seed } = settings;
  const random = new Random(seed);
  const filled = [...sequences.keys()].filter((b) => sequences[b]!.nQueries > 0);
  const rows = new Map<string, Row>();
  const add = (sequence: number, query: number) => {
    const row = { sequence, query, head: random.int(0, nHeads) };
    rows.set(Object.values(row).join(), row);
  };
  if (filled.length === 0) return [];
  for (const i of random.permutation(filled.length).subarray(0, MAX_ROWS / 4)) {
    add(filled[i]!, 0);
    add(filled[i]!, sequences[filled[i]!]!.nQueries - 1);
  }
  for (let i = rows.size; i < MAX_ROWS; i++) {
    const sequence = filled[random.int(0, filled.length)]!;
    add(sequence, random.int(0, sequences[sequence]!.nQueries));
  }
  return [...rows.values()];
}

/**
 * The row as a problem of its own: one head, and only the visible keys begin ... end − 1. ALiBi needs the row's distance to
 * each key. Alignment is bottom right, so rows of zeros are added below it, up to the position of the last key.
 */
function rowProblem(settings: Settings, { q, k, v, cuSeqlensQ, cuSeqlensK }: Inputs, row: Row) {
  const { nHeads, nKvHeads, headDim, softcap, alibi, sinks } = settings;
  const { nQueries, nKeys } = settings.sequences[row.sequence]!;
  const position = row.query + nKeys - nQueries;
  const { begin, end } = visibleKeys(position, nKeys, 0, settings);
  const nVisible = Math.max(0, end - begin);
  const nRows = alibi && nVisible > 0 ? end - position : 1;
  const kvHead = Math.floor(row.head / (nHeads / nKvHeads));

  const query = new Float32Array(nRows * headDim);
  const keys = new Float32Array(nVisible * headDim);
  const values = new Float32Array(nVisible * headDim);
  query.set(rowOf(q, cuSeqlensQ[row.sequence]! + row.query, row.head));
  for (let j = 0; j < nVisible; j++) {
    const token = cuSeqlensK[row.sequence]! + begin + j;
    keys.set(rowOf(k, token, kvHead), j * headDim);
    values.set(rowOf(v, token, kvHead), j * headDim);
  }
  return {
    macs: 2 * nRows * nVisible * headDim,
    args: {
      q: { data: query, shape: [nRows, 1, headDim] },
      k: { data: keys, shape: [nVisible, 1, headDim] },
      v: { data: values, shape: [nVisible, 1, headDim] },
      cuSeqlensQ: [0, nRows],
      cuSeqlensK: [0, nVisible],
      softcap,
      alibiSlopes: alibi ? [alibiSlopes(nHeads)[row.head]!] : undefined,
      sinks: sinks ? [sinkScores(nHeads)[row.head]!] : undefined,
    },
  };
}

/** The larger of two errors; NaN counts as the largest. */
function worse(a: number, b: number): number {
  return Number.isNaN(a) || Number.isNaN(b) ? NaN : Math.max(a, b);
}

/** The error of an lse: absolute up to 100, then relative to a tenth of it. −∞ must be −∞. */
function lseError(got: number, want: number): number {
  if (got === want) return 0;
  const error = Math.abs(got - want);
  return Math.abs(want) < 100 ? error : error / (Math.abs(want) / 10);
}
