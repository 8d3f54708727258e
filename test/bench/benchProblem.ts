import type { DecodeCase } from '../../bench/cases/cases.js';
import { decodeProblem, shuffledPages, type DecodeProblem } from '../../bench/cases/decodeProblem.js';
import { PAGE_SIZE } from '../../bench/cases/shapes.js';
import { fakeTensor } from '../runtime/fakeDevice.js';

/** The problem of a case, on fake tensors. */
export function problemOf(benchCase: DecodeCase): DecodeProblem {
  const { keys, nHeads, nKvHeads, headDim, dtype } = benchCase;
  const pages = shuffledPages(benchCase);
  const rows = () => fakeTensor(dtype, [keys.length, 1, nHeads, headDim]);
  const cache = () => fakeTensor(dtype, [pages.nPages, PAGE_SIZE, nKvHeads, headDim]);
  return decodeProblem(benchCase, { q: rows(), out: rows(), kCache: cache(), vCache: cache() }, pages);
}
