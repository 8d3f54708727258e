import { describe, expect, test } from 'vitest';
import { checkedTuning } from '../../src/core/checkTuning.js';
import type { DeviceTraits } from '../../src/core/deviceTraits.js';
import type { Tuning } from '../../src/core/tuning.js';
import { chunkRule } from '../../src/plan/chunkRule.js';
import { decodeCandidates, decodeTile } from '../../src/plan/decodeTile.js';
import { matrixDecodeCandidates, matrixPrefillCandidates } from '../../src/plan/matrixTile.js';
import { prefillCandidates, prefillRegisters, prefillTile } from '../../src/plan/prefillTile.js';
import {
  chooseDecodeTile,
  choosePrefillTile,
  DECODE_SHAPE,
  isMatrixEntry,
  PREFILL_SHAPE,
  shapeOf,
  tunedRows,
} from '../../src/plan/tunedTiles.js';
import {
  decodeVariations,
  defaultTuning,
  prefillVariations,
  withMatrices,
} from '../../src/tuning/variations.js';
import { refusal } from '../check/refusal.js';
import { traitsOf } from './traits.js';
import { chunksOf, workOf } from './work.js';

const LARGE = traitsOf({
  shaderF16: true,
  subgroupMinSize: 32,
  subgroupMaxSize: 32,
  maxWorkgroupBytes: 49152,
  maxWorkgroupInvocations: 1024,
});
const DEVICES: Readonly<Record<string, DeviceTraits>> = {
  'a large GPU': LARGE,
  'a GPU with default limits': traitsOf({}),
  'a software adapter': traitsOf({
    deviceClass: 'software',
    subgroupMinSize: 8,
    subgroupMaxSize: 8,
    maxWorkgroupBytes: 32768,
  }),
};

function tuned(traits: DeviceTraits, changes: Partial<Tuning>): DeviceTraits {
  return { ...traits, tuning: { ...defaultTuning(traits, undefined), ...changes } };
}

describe.each(Object.entries(DEVICES))('on %s', (_, traits) => {
  test.each([64, 80, 128, 256])('the shapes of candidates for head size %d tell them apart', (headDim) => {
    const sizes = { headDim, headDimV: headDim, paged: true };
    const decode = [1, 4, 8].map((nRows) =>
      decodeCandidates(traits, { ...sizes, kvDType: 'f16', nRows }).map((tile) =>
        shapeOf(tile, DECODE_SHAPE),
      ),
    );
    const prefill = (['f16', 'f32'] as const).map((dtype) =>
      prefillCandidates(traits, { ...sizes, qDType: dtype, kvDType: dtype }).map((tile) =>
        shapeOf(tile, PREFILL_SHAPE),
      ),
    );
    for (const shapes of [...decode, ...prefill]) {
      expect(shapes.length).toBeGreaterThan(0);
      expect(new Set(shapes.map((shape) => JSON.stringify(shape))).size).toBe(shapes.length);
    }
  });

  test('every candidate is found again by its shape, after a turn as JSON', () => {
    const sizes = { headDim: 128, headDimV: 128, paged: true };
    const nRows = 4;
    for (const tile of decodeCandidates(traits, { ...sizes, kvDType: 'f16', nRows })) {
      const entry = { ...sizes, kvDType: 'f16' as const, rows: 4, tile: shapeOf(tile, DECODE_SHAPE) };
      const decode = JSON.parse(JSON.stringify([entry])) as Tuning['decode'];
      const args = { ...sizes, nRows, qDType: 'f16' as const, kvDType: 'f16' as const };
      expect(chooseDecodeTile(tuned(traits, { decode }), args, 'test')).toEqual({ decode: tile });
    }
    const types = { qDType: 'f16', kvDType: 'f16' } as const;
    for (const tile of prefillCandidates(traits, { ...sizes, ...types })) {
      const entry = {
        ...sizes,
        dtype: 'f16' as const,
        kvDType: 'f16' as const,
        tile: shapeOf(tile, PREFILL_SHAPE),
      };
      const traitsWith = tuned(traits, { prefill: [entry] });
      expect(choosePrefillTile(traitsWith, { ...sizes, ...types }, 'test')).toEqual({ prefill: tile });
    }
  });
});

const D128 = { headDim: 128, headDimV: 128, qDType: 'f16', paged: true } as const;
const TILE = { invocations: 256, rows: 2, keyLanes: 4 };
const decode = [{ headDim: 128, headDimV: 128, kvDType: 'f16', rows: 4, tile: TILE }] as const;

test.each([
  { change: {}, isTuned: true, why: 'what was tuned' },
  { change: { nRows: 3 }, isTuned: true, why: 'fewer rows of the same power of two' },
  { change: { headDim: 120 }, isTuned: true, why: 'a head size of the same multiple of 32' },
  { change: { paged: false }, isTuned: true, why: 'no pages' },
  { change: { nRows: 5 }, isTuned: false, why: 'more rows' },
  { change: { headDim: 64 }, isTuned: false, why: 'another head size' },
  { change: { headDimV: 64 }, isTuned: false, why: 'another head size of v' },
  { change: { kvDType: 'f32' as const }, isTuned: false, why: 'another type' },
])('a tile that was tuned serves $why: $isTuned', ({ change, isTuned }) => {
  const args = { ...D128, nRows: 4, kvDType: 'f16' as const, ...change };
  const tile = chooseDecodeTile(tuned(LARGE, { decode }), args, 'test');
  if (isTuned) expect(tile).toMatchObject({ decode: TILE });
  else expect(tile).toEqual({ decode: decodeTile(LARGE, args) });
});

test('a tile that is no candidate is refused in the name of the call', () => {
  const unknown = [{ ...decode[0], tile: { ...TILE, keyLanes: 3 } }];
  const args = { ...D128, nRows: 4, kvDType: 'f16' as const };
  expect(
    refusal(() => chooseDecodeTile(tuned(LARGE, { decode: unknown }), args, 'attn')),
  ).toMatchInlineSnapshot(
    `"argument: attn: the tuning that createRuntime was given has a tile for headDim 128 which this version of pageflash does not have, or does not fit the device with pages. Tune again, or leave tuning out."`,
  );
});

test('a candidate for a head size that shares tiles with one tuned before is the tile that it names', () => {
  const model = { nHeads: 32, nKvHeads: 8, dtype: 'f16', kvDType: 'f16', paged: true } as const;
  const before = defaultTuning(LARGE, undefined);
  const first = { ...model, headDim: 80, headDimV: 80 };
  const second = { ...model, headDim: 96, headDimV: 96 };
  const args = { ...second, qDType: 'f16' as const, nRows: 4 };
  const decodes = decodeVariations(decodeVariations(before, first, LARGE).at(-1)!.tuning, second, LARGE);
  const prefills = prefillVariations(prefillVariations(before, first, LARGE).at(-1)!.tuning, second, LARGE);
  for (const { tuning } of decodes.slice(1)) {
    const tile = chooseDecodeTile({ ...LARGE, tuning }, args, 'test');
    expect(tile).toMatchObject({ decode: tuning.decode.at(-1)!.tile });
  }
  for (const { tuning } of prefills.slice(1)) {
    const tile = choosePrefillTile({ ...LARGE, tuning }, args, 'test');
    expect(tile).toMatchObject({ prefill: tuning.prefill.at(-1)!.tile });
  }
});

describe('tiles of attn_matrix', () => {
  const matrices = { componentType: 'f16', resultComponentType: 'f32', M: 16, N: 16, K: 16 } as const;
  const T2: DeviceTraits = { ...LARGE, tier: 'T2', matrices };
  const args = { ...D128, kvDType: 'f16', nRows: 4 } as const;
  const model = { ...D128, nHeads: 32, nKvHeads: 8, dtype: 'f16', kvDType: 'f16' } as const;
  const before = defaultTuning(T2, undefined);
  const [decodes, prefills] = [
    decodeVariations(before, model, T2).slice(1),
    prefillVariations(before, model, T2).slice(1),
  ];
  const isOfMatrices = ({ tuning }: { tuning: Tuning }) =>
    [...tuning.prefill, ...tuning.decode].every(isMatrixEntry);

  test('are tried beside those of the other kernels, and no two are called the same', () => {
    expect(decodes.filter(isOfMatrices)).toHaveLength(matrixDecodeCandidates(T2, args).length);
    expect(prefills.filter(isOfMatrices)).toHaveLength(matrixPrefillCandidates(T2, args).length);
    for (const variations of [decodes, prefills]) {
      expect(variations.filter((each) => !isOfMatrices(each)).length).toBeGreaterThan(1);
      expect(new Set(variations.map(({ name }) => name)).size).toBe(variations.length);
    }
  });

  test('are found again after a turn as JSON, and so are those that switch back', () => {
    const chosen = (variations: typeof decodes) =>
      variations.map(({ tuning }) => {
        const traits = {
          ...T2,
          tuning: checkedTuning('test', JSON.parse(JSON.stringify(tuning)) as Tuning, LARGE),
        };
        return variations === decodes
          ? chooseDecodeTile(traits, args, 'test')
          : choosePrefillTile(traits, args, 'test');
      });
    expect(chosen(decodes)).toEqual([
      ...decodeCandidates(T2, args).map((tile) => ({ decode: tile })),
      ...matrixDecodeCandidates(T2, args).map((matrix) => ({ matrix })),
    ]);
    expect(chosen(prefills)).toEqual([
      ...prefillCandidates(T2, args).map((prefill) => ({ prefill })),
      ...matrixPrefillCandidates(T2, args).map((matrix) => ({ matrix })),
    ]);
  });

  const last = { decode: decodes.at(-1)!.tuning, prefill: prefills.at(-1)!.tuning };
  const other = { ...matrices, M: 8, N: 8, K: 8 };

  test.each<{ why: string; traits: DeviceTraits; change?: object }>([
    { why: 'a runtime that uses no matrices', traits: LARGE },
    { why: 'matrices other than those that were tuned', traits: { ...T2, matrices: other } },
    { why: 'queries of f32, which f16 would lose', traits: T2, change: { qDType: 'f32' } },
    { why: 'three rows, too few for a matrix', traits: T2, change: { nRows: 3 } },
  ])('do not count for $why', ({ traits, change }) => {
    const problem = { ...args, ...change };
    const without = { ...traits, tuning: null };
    expect(chooseDecodeTile({ ...traits, tuning: last.decode }, problem, 'test')).toEqual(
      chooseDecodeTile(without, problem, 'test'),
    );
    if (change) return;
    expect(choosePrefillTile({ ...traits, tuning: last.prefill }, problem, 'test')).toEqual(
      choosePrefillTile(without, problem, 'test'),
    );
  });

  test('a step has as many strips as its rows take', () => {
    const wide = decodeVariations(before, { ...model, headDim: 64, headDimV: 64, nHeads: 256 }, T2).at(-1)!;
    for (const [nRows, strips] of [
      [17, 2],
      [32, 2],
    ] as const)
      expect(
        chooseDecodeTile(
          { ...T2, tuning: wide.tuning },
          { ...args, headDim: 64, headDimV: 64, nRows },
          'test',
        ),
      ).toMatchObject({ matrix: { ...wide.tuning.decode[0]!.tile, strips } });
  });

  test('one that is no candidate is refused', () => {
    const unknown = {
      ...last.decode,
      decode: [{ ...last.decode.decode[0]!, tile: { parts: 3, rowBlocks: 1, keys: 64 } }],
    };
    expect(refusal(() => chooseDecodeTile({ ...T2, tuning: unknown }, args, 'attn'))).toContain(
      'argument: attn: the tuning that createRuntime was given has a tile for headDim 128 which this version of pageflash does not have',
    );
  });

  test('a tuning loses them where the matrices are others now, and keeps the rest', () => {
    const both = { ...last.prefill, decode: [...last.decode.decode, ...decode] };
    expect(withMatrices(both, { ...matrices })).toBe(both);
    for (const now of [null, other])
      expect(withMatrices(both, now)).toEqual({ ...both, matrices: now, prefill: [], decode: [...decode] });
  });
});

test('rows are tuned by powers of two', () => {
  expect([1, 2, 3, 4, 5, 9, 16, 17].map(tunedRows)).toEqual([1, 2, 4, 4, 8, 16, 16, 32]);
});

describe('defaults by vendor and architecture', () => {
  test.each([
    { vendor: '', architecture: '', workgroups: 512, minKeys: 256 },
    { vendor: 'nvidia', architecture: 'ampere', workgroups: 512, minKeys: 128 },
    { vendor: 'amd', architecture: 'rdna-3', workgroups: 512, minKeys: 256 },
    { vendor: 'amd', architecture: 'gcn-5', workgroups: 256, minKeys: 256 },
    { vendor: 'intel', architecture: 'gen-12lp', workgroups: 128, minKeys: 256 },
    { vendor: 'intel', architecture: 'gen-12hp', workgroups: 256, minKeys: 256 },
    { vendor: 'intel', architecture: 'xe-2lpg', workgroups: 128, minKeys: 256 },
    { vendor: 'intel', architecture: 'xe-2hpg', workgroups: 256, minKeys: 256 },
    { vendor: 'apple', architecture: 'metal-3', workgroups: 256, minKeys: 256 },
    { vendor: 'qualcomm', architecture: 'adreno-7xx', workgroups: 64, minKeys: 256 },
    { vendor: 'arm', architecture: 'valhall', workgroups: 64, minKeys: 256 },
  ])('$vendor $architecture: $workgroups workgroups, chunks of $minKeys keys', (row) => {
    const { vendor, architecture, ...rule } = row;
    expect(chunkRule(traitsOf({ vendor, architecture }))).toEqual(rule);
    const software = traitsOf({ vendor, architecture, deviceClass: 'software' });
    expect(chunkRule(software)).toEqual({ workgroups: 16, minKeys: 1024 });
  });

  test('a tuning decides instead', () => {
    const chunks = { workgroups: 77, minKeys: 300 };
    expect(chunkRule(tuned(LARGE, { chunks }))).toEqual(chunks);
    const heads = { heads: [32, 8], headDim: 128 } as const;
    const [few] = chunksOf(
      workOf([[1, 8192]], heads, tuned(LARGE, { chunks: { workgroups: 64, minKeys: 128 } })),
    );
    const [many] = chunksOf(
      workOf([[1, 8192]], heads, tuned(LARGE, { chunks: { workgroups: 512, minKeys: 128 } })),
    );
    expect([few, many]).toEqual([8, 64]);
  });

  test('devices with few registers get tiles with few sums', () => {
    const args = { headDim: 128, headDimV: 128, qDType: 'f32', kvDType: 'f32', paged: true } as const;
    const table = prefillTile(LARGE, args);
    const adreno = choosePrefillTile({ ...LARGE, vendor: 'qualcomm' }, args, 'test');
    expect(prefillRegisters(table)).toBeGreaterThan(64);
    expect('prefill' in adreno && prefillRegisters(adreno.prefill)).toBeLessThanOrEqual(64);
    expect(choosePrefillTile({ ...LARGE, vendor: 'nvidia' }, args, 'test')).toEqual({ prefill: table });
  });

  test.each([
    { vendor: 'nvidia', nRows: 8, rows: 8, keyLanes: 8, prefetch: true, why: 'registers for all' },
    { vendor: 'apple', nRows: 8, rows: 8, keyLanes: 16, prefetch: true, why: 'fewer loads of a lane ahead' },
    { vendor: 'qualcomm', nRows: 4, rows: 4, keyLanes: 16, prefetch: true, why: 'the same' },
    { vendor: 'qualcomm', nRows: 8, rows: 8, prefetch: false, why: 'sums alone, but keys read once' },
  ])('attn_decode takes $rows rows on $vendor: $why', ({ vendor, nRows, why: _why, ...tile }) => {
    const args = { ...D128, kvDType: 'f16', nRows } as const;
    expect(chooseDecodeTile({ ...LARGE, vendor }, args, 'test')).toMatchObject({ decode: tile });
  });
});

describe('sequences that nearly fill the device', () => {
  const heads = { heads: [8, 8] } as const;
  const alike = (count: number) => Array.from({ length: count }, () => [1, 8192] as const);

  test.each([
    { count: 40, chunks: 2, why: 'they fill 62 %' },
    { count: 52, chunks: 1, why: 'they fill 81 %: splitting gains less than it costs to merge' },
    { count: 64, chunks: 1, why: 'they fill all of it' },
  ])('$count sequences of 8 heads have $chunks chunks each: $why', ({ count, chunks }) => {
    expect(new Set(chunksOf(workOf(alike(count), heads)))).toEqual(new Set([chunks]));
  });

  test('a long one among them is split all the same', () => {
    const chunks = chunksOf(workOf([...alike(52), [1, 100_000]], heads));
    expect(chunks.at(-1)).toBeGreaterThan(4);
  });
});
