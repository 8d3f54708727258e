import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import {
  attnVarlenReference,
  attnWithKvCacheReference,
  type AttentionResult,
  type HostTensor,
} from '../../src/reference/attention.js';
import {
  goldenNames,
  parseGolden,
  type GoldenCase,
  type GoldenKvCache,
  type GoldenVarlen,
} from './golden.js';
import { checkRotated, checkSame } from './tolerance.js';

describe('golden answers', () => {
  test('there are golden cases', () => expect(goldenNames.length).toBeGreaterThanOrEqual(8));

  test.each(goldenNames)('%s', async (name) => {
    // As a file, since the data URL that a bundler makes of it takes a second to decode.
    const file = await readFile(new URL(`../golden/${name}.safetensors`, import.meta.url));
    const golden = parseGolden(name, Uint8Array.from(file).buffer);
    const result =
      golden.fn === 'attnVarlen' ? attnVarlenReference(varlenArgs(golden)) : cachedResult(golden);
    expect(result.out.shape).toEqual(golden.floats.out.shape);
    expect(result.lse.shape).toEqual(golden.floats.lse.shape);
    expectNearF32(result.out.data, golden.floats.out.data);
    expectNearF32(result.lse.data, golden.floats.lse.data);
  });
});

function commonArgs({ args, floats, ints }: GoldenCase) {
  return {
    ...args,
    q: floats.q,
    alibiSlopes: floats['alibiSlopes']?.data,
    sinks: floats['sinks']?.data,
    blockTable: ints['blockTable']?.data,
  };
}

function varlenArgs(golden: GoldenVarlen) {
  const { floats, ints } = golden;
  return {
    ...commonArgs(golden),
    k: floats.k,
    v: floats.v,
    cuSeqlensQ: ints.cuSeqlensQ.data,
    cuSeqlensK: ints['cuSeqlensK']?.data,
    sequsedK: ints['sequsedK']?.data,
  };
}

/** Runs a case, and checks the contents of its caches afterwards. */
function cachedResult(golden: GoldenKvCache): AttentionResult {
  const { floats, ints, dtype } = golden;
  const result = attnWithKvCacheReference({
    ...commonArgs(golden),
    dtype,
    kCache: floats.kCache,
    vCache: floats.vCache,
    k: floats['k'],
    v: floats['v'],
    cacheSeqlens: ints.cacheSeqlens.data,
    cacheBatchIdx: ints['cacheBatchIdx']?.data,
    cacheLeftpad: ints['cacheLeftpad']?.data,
    rotaryCos: floats['rotaryCos'],
    rotarySin: floats['rotarySin'],
  });
  const wantK = { actual: validSlots(golden, result.kCache), reference: floats.wantK.data };
  const wantV = { actual: validSlots(golden, result.vCache), reference: floats.wantV.data };
  if (floats['rotaryCos']) checkRotated('kCache', wantK, dtype);
  else checkSame('kCache', wantK);
  checkSame('vCache', wantV);
  return result;
}

/** The keys of a cache, sequence after sequence; NaN where leftpad hides. */
function validSlots({ floats, ints }: GoldenKvCache, { data, shape }: HostTensor): number[] {
  const [, pageSize, nKvHeads, d] = shape as [number, number, number, number];
  const table = ints['blockTable'];
  const nNew = floats['k']?.shape[1] ?? 0;
  return Array.from(ints.cacheSeqlens.data).flatMap((nCached, b) => {
    const row = ints['cacheBatchIdx']?.data[b] ?? b;
    const leftpad = ints['cacheLeftpad']?.data[b] ?? 0;
    return Array.from({ length: nCached + nNew }, (_, j) => {
      // A cache without a table is one page of Sc slots per row.
      const page = table ? table.data[row * table.shape[1]! + Math.floor(j / pageSize)]! : row;
      const slot = page * pageSize + (table ? j % pageSize : j);
      if (j < leftpad) return Array<number>(nKvHeads * d).fill(NaN);
      return [...data.subarray(slot * nKvHeads * d, (slot + 1) * nKvHeads * d)];
    }).flat();
  });
}

/** Equal but for the rounding to f32, in which the answers are stored. */
function expectNearF32(got: ArrayLike<number>, want: ArrayLike<number>): void {
  expect(got).toHaveLength(want.length);
  for (let i = 0; i < want.length; i++) {
    const allowed = 2 ** -22 * Math.max(1, Math.abs(want[i]!));
    if (got[i] === want[i] || Math.abs(got[i]! - want[i]!) <= allowed) continue;
    expect.fail(`element ${i} is ${got[i]!}, want ${want[i]!}`);
  }
}
