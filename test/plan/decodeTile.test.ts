import { expect, test } from 'vitest';
import type { DeviceTraits } from '../../src/core/deviceTraits.js';
import {
  attnDecodeKernel,
  decodeSpec,
  decodeTileKeys,
  decodeWorkgroupBytes,
  type DecodeTile,
} from '../../src/kernels/attnDecode.js';
import { decodeTile, type DecodeTileArgs } from '../../src/plan/decodeTile.js';
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
  const { invocations, rows, keyLanes, headOctets, rowLanes, valueLanes, cols, subgroups, broadcastLanes } =
    tile;
  const keyQuads = decodeTileKeys(tile) / 4;
  const valueGroups = invocations / valueLanes;
  const rules = {
    'powers of two': [invocations, rows, keyLanes, rowLanes, valueLanes].every((n) =>
      Number.isInteger(Math.log2(n)),
    ),
    'fits the memory': decodeWorkgroupBytes(tile, args.paged) <= traits.maxWorkgroupBytes,
    'fits the invocations': invocations <= traits.maxWorkgroupInvocations,
    'no more rows than there are, rounded up': rows < 2 * args.nRows,
    'lanes of a key share the octets of a head': headOctets % keyLanes === 0,
    'the octets hold a head': headOctets * 8 >= args.headDim,
    'lanes for every row': rowLanes * rows <= invocations,
    'lanes share the keys': keyQuads % rowLanes === 0,
    'groups take the keys by turns': keyQuads % valueGroups === 0,
    'value lanes hold a head of v': valueLanes * cols * 8 >= args.headDimV,
    'lanes of a key lie in a subgroup': !subgroups || keyLanes <= traits.subgroupMinSize,
    'lanes lie in a subgroup': !subgroups || rowLanes <= traits.subgroupMinSize,
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

const ROWS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 64];

test.each(DEVICES)(
  'every head size and number of rows has a tile that the kernel can run, on $name',
  ({ traits }) => {
    const broken = new Set<string>();
    for (let headDim = 1; headDim <= 256; headDim++) {
      for (const headDimV of headDim % 32 === 0 ? [1, headDim, 256] : [headDim]) {
        for (const nRows of ROWS) {
          for (const paged of [true, false]) {
            const args = { headDim, headDimV, nRows, paged };
            for (const rule of brokenRules(decodeTile(traits, args), traits, args)) broken.add(rule);
          }
        }
      }
    }
    expect([...broken]).toEqual([]);
  },
);

const D128 = { headDim: 128, headDimV: 128, nRows: 1, paged: false };

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
    outWide: true,
    paged,
    softcap: false,
    alibi: false,
  } as const;
  const declared = declaredWorkgroupBytes(attnDecodeKernel, decodeSpec(tile, features, false));
  expect(decodeWorkgroupBytes(tile, paged)).toBe(declared);
});

test('rows are rounded up to a power of two, at most eight', () => {
  const rows = (nRows: number) => decodeTile(traitsOf({ maxWorkgroupBytes: 65536 }), { ...D128, nRows }).rows;
  expect([1, 2, 3, 4, 5, 8, 9, 64].map(rows)).toEqual([1, 2, 4, 4, 8, 8, 8, 8]);
});

test('invocations exchange by subgroup operations only if every subgroup holds all that exchange', () => {
  const subgroups = (subgroupMinSize: number) =>
    decodeTile(traitsOf({ subgroupMinSize, subgroupMaxSize: 128 }), D128).subgroups;
  expect([0, 2, 4, 8, 32].map(subgroups)).toEqual([false, false, true, true, true]);
});

test('the head size of q chooses pipelines by multiples of 32', () => {
  const octetsOf = (headDim: number) => decodeTile(traitsOf({}), { ...D128, headDim }).headOctets;
  expect([1, 32, 33, 80, 256].map(octetsOf)).toEqual([4, 4, 8, 12, 32]);
});

test('a device too small for any tile is told what to ask for', () => {
  const traits = traitsOf({ maxWorkgroupBytes: 2048 });
  expect(() => decodeTile(traits, D128)).toThrowErrorMatchingInlineSnapshot(
    `[PageflashError: pageflash: the smallest tile for headDim 128 needs 3168 bytes of workgroup memory; this device allows 2048. Ask for maxComputeWorkgroupStorageSize, or use requestDevice().]`,
  );
});
