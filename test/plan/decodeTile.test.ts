import { describe, expect, test } from 'vitest';
import type { DeviceTraits } from '../../src/core/deviceTraits.js';
import { bytesPerElement } from '../../src/core/dtype.js';
import {
  attnDecodeKernel,
  decodeSpec,
  decodeTileKeys,
  decodeValueSteps,
  decodeWorkgroupBytes,
  type DecodeTile,
} from '../../src/kernels/attnDecode.js';
import { decodeCandidates, decodeTile, type DecodeTileArgs } from '../../src/plan/decodeTile.js';
import { declaredWorkgroupBytes } from '../kernels/interpreter.js';
import { traitsOf } from './traits.js';

const SUBGROUP_SIZES = [
  [0, 0],
  [4, 4],
  [8, 8],
  [8, 32],
  [32, 32],
  [64, 64],
] as const;

const DEVICES = (['gpu', 'software'] as const).flatMap((deviceClass) =>
  SUBGROUP_SIZES.flatMap(([subgroupMinSize, subgroupMaxSize]) =>
    [16384, 32768].map((maxWorkgroupBytes) => ({
      name: `${deviceClass} ${subgroupMinSize}..${subgroupMaxSize} ${maxWorkgroupBytes / 1024} KiB`,
      traits: traitsOf({ deviceClass, subgroupMinSize, subgroupMaxSize, maxWorkgroupBytes }),
    })),
  ),
);

/** What attn_decode relies on; the names of the rules that a tile breaks. */
function brokenRules(tile: DecodeTile, traits: DeviceTraits, args: DecodeTileArgs): string[] {
  const { invocations, rows, keyLanes, headOctets, quadLanes, valueLanes, cols, turnRows } = tile;
  const { subgroups, broadcastLanes } = tile;
  const keyQuads = decodeTileKeys(tile) / 4;
  const valueGroups = invocations / valueLanes;
  const rules = {
    'powers of two': [invocations, rows, keyLanes, quadLanes, valueLanes, turnRows].every((n) =>
      Number.isInteger(Math.log2(n)),
    ),
    'fits the memory': decodeWorkgroupBytes(tile, args) <= traits.maxWorkgroupBytes,
    'fits the invocations': invocations <= traits.maxWorkgroupInvocations,
    'no more rows than there are, rounded up': rows < 2 * args.nRows,
    'lanes of a key share the octets of a head': headOctets % keyLanes === 0,
    'the octets hold a head': headOctets * 8 >= args.headDim,
    'a lane for every row': keyLanes === 1 || keyLanes >= rows,
    'lanes share the quads': keyQuads % quadLanes === 0,
    'rows are written in whole turns': rows % turnRows === 0,
    'an invocation for every key that is looked up ahead':
      !tile.prefetch || decodeTileKeys(tile) <= invocations,
    'registers for what is loaded ahead': !tile.prefetch || aheadBytes(tile, args) <= 256,
    'groups take the keys by turns': keyQuads % valueGroups === 0,
    'value lanes hold a head of v': valueLanes * cols * 8 >= args.headDimV,
    'lanes that exchange lie in a subgroup': subgroups
      ? keyLanes * quadLanes <= traits.subgroupMinSize
      : quadLanes === 1,
    'broadcasts have subgroups of one size':
      broadcastLanes === 0 ||
      (subgroups &&
        traits.subgroupMinSize === broadcastLanes &&
        traits.subgroupMaxSize === broadcastLanes &&
        invocations % broadcastLanes === 0),
    'lanes that share queries and weights read the same ones':
      broadcastLanes === 0 || (keyLanes === 1 && valueLanes % broadcastLanes === 0),
  };
  return Object.entries(rules)
    .filter(([, holds]) => !holds)
    .map(([rule]) => rule);
}

/** Bytes of keys, or of values if these are more, that an invocation loads ahead. */
function aheadBytes(tile: DecodeTile, { kvDType }: DecodeTileArgs): number {
  const octets = 4 * Math.max(tile.headOctets / tile.keyLanes, decodeValueSteps(tile) * tile.cols);
  return octets * 8 * bytesPerElement(kvDType);
}

const LARGE_HEADS = [257, 288, 289, 320, 385, 448, 511, 512, 513, 575, 576];
const HEAD_DIMS = [...Array.from({ length: 256 }, (_, i) => i + 1), ...LARGE_HEADS];
const ROWS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 64];

test.each(DEVICES)(
  'every head size and number of rows has a tile that the kernel can run, on $name',
  ({ traits }) => {
    const broken = new Set<string>();
    for (const headDim of HEAD_DIMS) {
      for (const headDimV of headDim % 32 === 0
        ? [1, Math.min(headDim, 512), 256]
        : [Math.min(headDim, 512)]) {
        for (const nRows of ROWS) {
          for (const kvDType of ['f16', 'f32'] as const) {
            const args = { headDim, headDimV, kvDType, nRows, paged: true };
            for (const rule of brokenRules(decodeTile(traits, args), traits, args)) broken.add(rule);
          }
        }
      }
    }
    expect([...broken]).toEqual([]);
  },
);

const D128 = { headDim: 128, headDimV: 128, kvDType: 'f16', nRows: 1, paged: false } as const;

test.each([
  { why: 'no subgroups', traits: traitsOf({}), nRows: 1, paged: false },
  { why: 'subgroups, pages', traits: traitsOf({ subgroupMinSize: 32 }), nRows: 2, paged: true },
  { why: 'a CPU', traits: traitsOf({ deviceClass: 'software' }), nRows: 8, paged: true },
])('workgroup memory is counted as WebGPU counts it: $why', ({ traits, nRows, paged }) => {
  const tile = decodeTile(traits, { ...D128, nRows, paged });
  const features = {
    qDType: 'f16',
    kvDType: 'f16',
    qWide: true,
    kvWide: true,
    keyRun: 1,
    scaleDType: null,
    outWide: true,
    outOctets: true,
    paged,
    softcap: false,
    alibi: false,
    firstKeys: false,
    mask: false,
    bias: null,
  } as const;
  const declared = declaredWorkgroupBytes(attnDecodeKernel, decodeSpec(tile, features, false));
  expect(decodeWorkgroupBytes(tile, features)).toBe(declared);
});

test.each([
  { kvDType: 'i8', scaleDType: 'f32', keyRun: 2 },
  { kvDType: 'i4', scaleDType: 'f16', keyRun: 4 },
  { kvDType: 'e4m3', scaleDType: null, keyRun: 2 },
] as const)('scales of $kvDType are counted, and 16 bytes of a key are read at a time', (format) => {
  for (const paged of [false, true]) {
    for (const deviceClass of ['gpu', 'software'] as const) {
      const tile = decodeTile(traitsOf({ deviceClass }), { ...D128, ...format, nRows: 4, paged });
      const features = {
        ...format,
        qDType: 'f16',
        qWide: true,
        kvWide: true,
        outWide: true,
        outOctets: true,
        paged,
        softcap: false,
        alibi: false,
        firstKeys: false,
        mask: false,
        bias: null,
      } as const;
      const spec = decodeSpec(tile, features, false);
      expect(decodeWorkgroupBytes(tile, features)).toBe(declaredWorkgroupBytes(attnDecodeKernel, spec));
      if (deviceClass === 'gpu') expect(spec).toMatchObject({ PREFETCH: true, K_QUADS: true });
      else expect(spec).toMatchObject({ PREFETCH: false, K_RUN: 1 });
    }
  }
});

test('rows are rounded up to a power of two, at most eight', () => {
  const rows = (nRows: number) => decodeTile(traitsOf({ maxWorkgroupBytes: 65536 }), { ...D128, nRows }).rows;
  expect([1, 2, 3, 4, 5, 8, 9, 64].map(rows)).toEqual([1, 2, 4, 4, 8, 8, 8, 8]);
});

test('invocations exchange by subgroup operations only if every subgroup holds all that exchange', () => {
  const subgroups = (subgroupMinSize: number) =>
    decodeTile(traitsOf({ subgroupMinSize, subgroupMaxSize: 128 }), D128).subgroups;
  expect([0, 2, 4, 8, 32].map(subgroups)).toEqual([false, false, false, true, true]);
});

test('the head size of q chooses pipelines by multiples of 32', () => {
  const octetsOf = (headDim: number) =>
    decodeTile(traitsOf({ deviceClass: 'software' }), { ...D128, headDim }).headOctets;
  expect([1, 32, 33, 80, 256].map(octetsOf)).toEqual([4, 4, 8, 12, 32]);
});

test('on a GPU a tile is loaded ahead: 128 bytes of keys and as many of values', () => {
  const gpu = traitsOf({ subgroupMinSize: 32, subgroupMaxSize: 32, maxWorkgroupBytes: 32768 });
  const tileOf = (args: Partial<DecodeTileArgs>) => {
    const { invocations, rows, keyLanes, prefetch, ...tile } = decodeTile(gpu, {
      ...D128,
      paged: true,
      ...args,
    });
    const { valueLanes, turnRows } = tile;
    return [prefetch ? 'ahead' : '', invocations, rows, keyLanes, valueLanes, turnRows].join(' ').trim();
  };
  expect(
    [
      { headDim: 64, headDimV: 64, nRows: 4 },
      { headDim: 64, headDimV: 64, nRows: 8 },
      { nRows: 1 },
      { nRows: 4 },
      { nRows: 8 },
      { nRows: 16 },
      { nRows: 4, kvDType: 'f32' as const },
      { headDim: 256, headDimV: 256, nRows: 4 },
      { headDim: 80, headDimV: 80, nRows: 4 },
      { headDim: 64, headDimV: 256, nRows: 2 },
    ].map(tileOf),
  ).toMatchInlineSnapshot(`
    [
      "ahead 128 4 4 8 2",
      "ahead 128 8 8 8 2",
      "ahead 128 1 8 16 1",
      "ahead 128 4 8 16 2",
      "ahead 128 8 8 16 2",
      "ahead 128 8 8 16 2",
      "ahead 128 4 16 16 2",
      "ahead 128 4 16 32 2",
      "ahead 128 4 8 16 2",
      "ahead 128 2 16 32 2",
    ]
  `);
});

describe('candidates', () => {
  const gpu = traitsOf({ subgroupMinSize: 32, subgroupMaxSize: 32, maxWorkgroupBytes: 32768 });

  test('begin with the chosen tile, are different, and can all be run', () => {
    for (const headDim of [40, 64, 96, 128, 256, 512]) {
      for (const nRows of [1, 3, 8, 16]) {
        for (const kvDType of ['f16', 'f32'] as const) {
          const args = { headDim, headDimV: headDim, kvDType, nRows, paged: true };
          const tiles = decodeCandidates(gpu, args);
          expect(tiles[0]).toEqual(decodeTile(gpu, args));
          expect(new Set(tiles.map((tile) => JSON.stringify(tile))).size).toBe(tiles.length);
          expect(tiles.flatMap((tile) => brokenRules(tile, gpu, args))).toEqual([]);
        }
      }
    }
  });

  test('vary in invocations, rows, lanes of a key and what is loaded ahead', () => {
    const tiles = decodeCandidates(gpu, { ...D128, nRows: 8, paged: true });
    const values = (of: (tile: DecodeTile) => number | boolean) => [...new Set(tiles.map(of))].toSorted();
    expect(values((tile) => tile.invocations)).toEqual([128, 256, 64]);
    expect(values((tile) => tile.rows)).toEqual([4, 8]);
    expect(values((tile) => tile.keyLanes)).toEqual([16, 4, 8]);
    expect(values((tile) => tile.prefetch)).toEqual([false, true]);
  });
});

test('a device too small for any tile is told what to ask for', () => {
  const traits = traitsOf({ maxWorkgroupBytes: 2048 });
  expect(() => decodeTile(traits, D128)).toThrowErrorMatchingInlineSnapshot(
    `[PageflashError: pageflash: the smallest tile for headDim 128 needs 4640 bytes of workgroup memory; this device allows 2048. Ask for maxComputeWorkgroupStorageSize, or use requestDevice().]`,
  );
});
