import { expect, test } from 'vitest';
import appendKv from '../../src/kernels/append_kv.wgsl';
import { listNewTokens } from '../../src/kernels/appendKv.js';
import attnDecode from '../../src/kernels/attn_decode.wgsl';
import attnPrefill from '../../src/kernels/attn_prefill.wgsl';
import attnWeights from '../../src/kernels/attn_weights.wgsl';
import { packChosenRows } from '../../src/kernels/attnWeights.js';
import copyPages from '../../src/kernels/copy_pages.wgsl';
import { copyPagesDispatches } from '../../src/kernels/copyPages.js';
import gatherTokens from '../../src/kernels/gather_tokens.wgsl';
import gatherHeads from '../../src/kernels/gather_heads.wgsl';
import gatherLengths from '../../src/kernels/gather_lengths.wgsl';
import mergeStates from '../../src/kernels/merge_states.wgsl';
import { packSplitTokens } from '../../src/kernels/mergeStates.js';
import { hostSequences, packItems } from '../../src/kernels/shared/batchInfo.js';
import type { Kernel } from '../../src/wgsl/kernel.js';
import { declarationOf } from '../../src/wgsl/module.js';
import { Records } from '../../src/wgsl/records.js';
import { structOf } from '../../src/wgsl/reflection.js';
import { batchOf } from '../plan/batch.js';

const KERNELS: readonly Kernel[] = [
  appendKv,
  attnDecode,
  attnPrefill,
  attnWeights,
  copyPages,
  gatherHeads,
  gatherTokens,
  gatherLengths,
  mergeStates,
];

/** By struct: what the host writes, and what a kernel should read of it. */
const WRITTEN: Readonly<
  Record<string, { kernel: Kernel; words: () => Uint32Array; read: readonly Record<string, number>[] }>
> = {
  Item: {
    kernel: attnPrefill,
    words: () => packItems([[{ sequence: 1, rowTile: 2, chunk: 3, nChunks: 4, firstPart: 5 }]]),
    read: [{ sequence: 1, row_tile: 2, chunks: 3 + 4 * 65_536, first_part: 5 }],
  },
  ChosenRow: {
    kernel: attnWeights,
    words: () => packChosenRows([{ row: 1, sequences: [2, 3], weightsAt: 4 }]),
    read: [{ row: 1, first_sequence: 2, end_sequence: 3, weights_at: 4 }],
  },
  NewTokens: {
    kernel: appendKv,
    words: () => {
      const sequences = new Uint32Array(12 * 5);
      const { batchInfo, itemsAt } = listNewTokens(Uint32Array.of(2, 0, 1, 0, 0), sequences, () => sequences);
      return (batchInfo as Uint32Array).subarray(2 * itemsAt);
    },
    read: [
      { sequence: 0, first_token: 0 },
      { sequence: 0, first_token: 1 },
      { sequence: 2, first_token: 0 },
    ],
  },
  SplitToken: {
    kernel: mergeStates,
    words: () => packSplitTokens([{ sequence: 1, token: 2, firstPart: 3, nParts: 4 }]),
    read: [{ sequence: 1, token: 2, first_part: 3, n_parts: 4 }],
  },
  PagePair: {
    kernel: copyPages,
    words: () => {
      const buffer = {} as GPUBuffer;
      const pool = { buffer, start: 0, end: 64, pools: [0], pageBytes: 16, pageStride: 16, isWide: true };
      const pairs = Uint32Array.of(3, 1, 2, 0);
      const [dispatch] = copyPagesDispatches({ groups: [pool], pairs, maxWorkgroupsPerDimension: 65_535 });
      return dispatch!.bindings['pairs'] as Uint32Array;
    },
    read: [
      { source: 3, destination: 1 },
      { source: 2, destination: 0 },
    ],
  },
  Sequence: {
    kernel: attnDecode,
    words: () => {
      const { problem, lengths } = batchOf([[2, 5]], { heads: [2, 1], headDim: 4, newTokens: [1] });
      return hostSequences(problem, lengths);
    },
    read: [
      {
        q_len: 2,
        k_len: 5,
        first_key: 0,
        n_cached: 4,
        q_base: 0,
        k_base: 0,
        v_base: 0,
        out_base: 0,
        lse_base: 0,
        table_base: 0,
        new_k_base: 0,
        new_v_base: 0,
        q_start: 0,
      },
    ],
  },
};

/** A function that the build writes for `@record`. */
const RECORD = /fn \$?\w+\(index: u32\) -> \$(\w+)/g;

/** Structs that kernels find in storage: as elements of an array, or word by word. */
function structsInStorage(): Set<string> {
  const structs = KERNELS.flatMap(({ modules, bindings }) => [
    ...bindings.flatMap(({ name }) => /array<\$(\w+)>;/.exec(declarationOf(modules, name))?.[1] ?? []),
    ...modules.flatMap((text) => Array.from(text.matchAll(RECORD), ([, struct]) => struct!)),
  ]);
  return new Set(structs);
}

test('every struct that a kernel finds in storage is written by a function of this table', () => {
  expect([...structsInStorage()].toSorted()).toEqual(Object.keys(WRITTEN).toSorted());
});

// A field that a struct gains is missing here, and where it is written.
test.each(Object.entries(WRITTEN))('%s is written field by field', (name, { kernel, words, read }) => {
  const { bytes, fields } = structOf(kernel, name);
  const written = words();
  expect(written.byteLength).toBe(bytes * read.length);
  const found = read.map((_, i) =>
    Object.fromEntries(
      Object.entries(fields).map(([field, { offset }]) => [field, written[(i * bytes + offset) / 4]]),
    ),
  );
  expect(found).toEqual(read);
});

test('rows that are chosen take the place of items', () => {
  expect(structOf(attnWeights, 'ChosenRow').bytes).toBe(structOf(attnPrefill, 'Item').bytes);
});

test('a record without one of its fields is refused', () => {
  const records = new Records(structOf(appendKv, 'NewTokens'), 1);
  expect(() => records.set(0, { sequence: 0 })).toThrowErrorMatchingInlineSnapshot(
    `[RangeError: first_token of a record is not given.]`,
  );
});

test('no host code knows the size of a struct or of a workgroup', () => {
  const sources = import.meta.glob<string>(['../../src/kernels/**/*.ts', '../../src/plan/*.ts'], {
    query: '?raw',
    import: 'default',
    eager: true,
  });
  expect(Object.keys(sources).length).toBeGreaterThan(10);
  const literals = /WG_SIZE = \d|SEQUENCE_WORDS|items\.length \/ \d|65_?536|subarray\(/;
  const found = Object.entries(sources).filter(([, text]) => literals.test(text));
  expect(found.map(([path]) => path)).toEqual([]);
});
