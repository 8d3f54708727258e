import { elementCount } from '../../src/core/tensor.js';
import type { Rotary } from '../../src/problem/attentionProblem.js';
import type { Batch } from '../plan/batch.js';
import { Random } from '../../tools/random.js';
import { HostBuffers } from './interpreter.js';

// What the tests have in common that run kernels on the CPU.

export const GRID = { maxWorkgroupsPerDimension: 65535 };

const ANGLES = new Random(2).uniforms(14, 0, 2 * Math.PI);

/** Two pairs of seven positions. */
export const ROTARY: Rotary = {
  cos: ANGLES.map(Math.cos),
  sin: ANGLES.map(Math.sin),
  nPositions: 7,
  pairs: 2,
  interleaved: true,
  queriesAdvance: true,
};

/** Random numbers in all that a problem reads. */
export function filled({ problem }: Batch): HostBuffers {
  const random = new Random(1);
  const buffers = new HostBuffers();
  const { q, k, v, append } = problem;
  for (const rows of [q, k, v, append?.newK, append?.newV])
    if (rows) buffers.write(rows.tensor, random.normals(elementCount(rows.tensor.shape)));
  return buffers;
}

/** The same batch with a page that is not there in the middle of each sequence, and none at all for the last. */
export function withoutPages({ problem, lengths }: Batch): Batch {
  const pages = problem.pages!;
  const table = (pages.table as Int32Array).map((page, i) => {
    const [row, column] = [Math.floor(i / pages.width), i % pages.width];
    if (row === pages.nRows - 1) return -1;
    return column % 3 === 1 ? [pages.nPages, 2 ** 31 - 1, -(2 ** 31)][row % 3]! : page;
  });
  return { problem: { ...problem, pages: { ...pages, table } }, lengths };
}

/** For kernels that read none. */
export const NO_ITEMS = new Uint32Array();
