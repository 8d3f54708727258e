import { shuffledPages } from '../../bench/decode/inputs.js';
import { decodeProblem, type DecodeProblem } from '../../bench/decode/problem.js';
import { PAGE_SIZE, type DecodeCase } from '../../bench/decode/shapes.js';
import { fakeTensor } from '../runtime/fakeDevice.js';

/** A case as it would be planned, on tensors that hold nothing. */
export function problemOf(benchCase: DecodeCase): DecodeProblem {
  const { keys, nHeads, nKvHeads, headDim, dtype } = benchCase;
  const pages = shuffledPages(benchCase);
  const rows = () => fakeTensor(dtype, [keys.length, 1, nHeads, headDim]);
  const cache = () => fakeTensor(dtype, [pages.nPages, PAGE_SIZE, nKvHeads, headDim]);
  return decodeProblem(benchCase, { q: rows(), out: rows(), kCache: cache(), vCache: cache() }, pages);
}
