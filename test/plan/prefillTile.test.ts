import { describe, expect, test } from 'vitest';
import type { DeviceTraits } from '../../src/core/deviceTraits.js';
import type { FloatDType } from '../../src/core/dtype.js';
import { prefillTileKeys, prefillWorkgroupBytes, type PrefillTile } from '../../src/kernels/attnPrefill.js';
import { prefillCandidates, prefillTile, type PrefillTileArgs } from '../../src/plan/prefillTile.js';
import { traitsOf } from './traits.js';

const devices: Readonly<Record<string, DeviceTraits>> = {
  'a GPU with default limits': traitsOf({}),
  'a GPU with all it has': traitsOf({ shaderF16: true, subgroupMinSize: 32, maxWorkgroupBytes: 32768 }),
  'a software adapter with default limits': traitsOf({ deviceClass: 'software' }),
  'a software adapter with all it has': traitsOf({
    deviceClass: 'software',
    shaderF16: true,
    subgroupMinSize: 8,
    maxWorkgroupBytes: 32768,
  }),
};

const LARGE_HEADS = [257, 288, 289, 320, 385, 448, 511, 512, 513, 575, 576];
const HEAD_DIMS = [...Array.from({ length: 256 }, (_, i) => i + 1), ...LARGE_HEADS];

describe.each(Object.entries(devices))('on %s', (_, traits) => {
  test.each([true, false])('every head size has tiles that the kernel can run (paged: %s)', (paged) => {
    for (const headDim of HEAD_DIMS) {
      for (const headDimV of [1, Math.min(headDim, 512), 512]) {
        for (const dtype of ['f32', 'f16', 'bf16'] as const) {
          const args = { headDim, headDimV, qDType: dtype, kvDType: dtype, paged };
          const tile = prefillTile(traits, args);
          for (const each of [tile, ...prefillCandidates(traits, args)]) expectRunnable(each, traits, args);
        }
      }
    }
  });

  test.each([64, 128, 256, 320, 512])(
    'candidates for head size %d are told apart by their shapes',
    (headDim) => {
      for (const dtype of ['f32', 'f16'] as const) {
        const args = { headDim, headDimV: headDim, qDType: dtype, kvDType: dtype, paged: true };
        const candidates = prefillCandidates(traits, args);
        const shapes = candidates.map(({ teams, lanes, rows, keyQuads }) =>
          [teams, lanes, rows, keyQuads].join(),
        );
        expect(new Set(shapes).size).toBe(shapes.length);
        expect(candidates).toContainEqual(prefillTile(traits, args));
      }
    },
  );
});

function expectRunnable(tile: PrefillTile, traits: DeviceTraits, args: PrefillTileArgs): void {
  const { headDim, headDimV, qDType } = args;
  const what = `head sizes ${headDim} and ${headDimV} in ${qDType}: ${JSON.stringify(tile)}`;
  expect(prefillWorkgroupBytes(tile, args), what).toBeLessThanOrEqual(traits.maxWorkgroupBytes);
  expect(tile.teams * tile.lanes, what).toBeLessThanOrEqual(traits.maxWorkgroupInvocations);
  expect(4 * tile.headQuads, what).toBeGreaterThanOrEqual(headDim);
  expect(4 * tile.cols * tile.lanes, what).toBeGreaterThanOrEqual(headDimV);
  expect(tile.headQuads % tile.sliceQuads, what).toBe(0);
  expect(tile.sliceQuads % 2, what).toBe(0);
  expect(tile.rows % 4, what).toBe(0);
  expect(tile.valueKeys % (4 * tile.keyQuads), what).toBe(0);
  expect(prefillTileKeys(tile) % tile.valueKeys, what).toBe(0);
  // Lanes without subgroups exchange sums through the tiles.
  expect(tile.f16Tiles && !tile.subgroups, what).toBe(false);
}

const D128 = { headDim: 128, headDimV: 128, paged: false };

test('tiles are f16 only where nothing is lost by it', () => {
  const software = traitsOf({
    deviceClass: 'software',
    shaderF16: true,
    subgroupMinSize: 8,
    subgroupMaxSize: 8,
  });
  const f16Tiles = (qDType: FloatDType, kvDType: FloatDType, traits = software) =>
    prefillTile(traits, { ...D128, qDType, kvDType }).f16Tiles;
  expect(f16Tiles('f16', 'f16')).toBe(true);
  expect(f16Tiles('f16', 'bf16')).toBe(false);
  expect(f16Tiles('f32', 'f16')).toBe(false);
  expect(f16Tiles('bf16', 'bf16')).toBe(false);
  expect(f16Tiles('f16', 'f16', { ...software, subgroupMinSize: 0 })).toBe(false);
  expect(f16Tiles('f16', 'f16', { ...software, deviceClass: 'gpu' })).toBe(false);
});

test('lanes exchange by subgroups only where one surely holds a team', () => {
  const subgroups = (subgroupMinSize: number) =>
    prefillTile(traitsOf({ subgroupMinSize }), { ...D128, qDType: 'f32', kvDType: 'f32' }).subgroups;
  expect(subgroups(0)).toBe(false);
  expect(subgroups(8)).toBe(false);
  expect(subgroups(16)).toBe(true);
});

test.each([
  { maxWorkgroupBytes: 16384, headDim: 512, rows: 64, why: 'twice as many lanes for a row, at any limit' },
  { maxWorkgroupBytes: 32768, headDim: 576, rows: 64, why: 'likewise, as MLA has it' },
  { maxWorkgroupBytes: 16384, headDim: 128, rows: 64, why: 'half as many teams at the default limit' },
  { maxWorkgroupBytes: 32768, headDim: 64, rows: 128, why: 'eight rows and eight keys an invocation' },
  { maxWorkgroupBytes: 32768, headDim: 128, rows: 128, why: 'likewise, with as many sums' },
  {
    maxWorkgroupBytes: 32768,
    headDim: 256,
    rows: 64,
    why: 'half as many rows, whose sums are twice as long',
  },
])('a GPU takes $rows rows for head size $headDim: $why', ({ maxWorkgroupBytes, headDim, rows }) => {
  for (const dtype of ['f32', 'f16'] as const) {
    const headDimV = Math.min(headDim, 512);
    const args = { headDim, headDimV, qDType: dtype, kvDType: dtype, paged: true };
    const tile = prefillTile(traitsOf({ maxWorkgroupBytes }), args);
    expect(tile.teams * tile.rows).toBe(rows);
    expect(prefillTileKeys(tile)).toBe(128);
  }
});

test('some candidates need few registers, for GPUs that have no more', () => {
  for (const headDim of [64, 128, 256, 512]) {
    const args = { headDim, headDimV: headDim, qDType: 'f16', kvDType: 'f16', paged: true } as const;
    const registers = prefillCandidates(traitsOf({}), args).map(
      (tile) => tile.rows * 4 * (tile.keyQuads + tile.cols),
    );
    expect(Math.min(...registers)).toBeLessThanOrEqual(64);
    expect(Math.max(...registers)).toBeLessThanOrEqual(160);
  }
});

test('a device too small for any tile is told what to ask for', () => {
  const traits = traitsOf({ maxWorkgroupBytes: 4096 });
  expect(() =>
    prefillTile(traits, { ...D128, qDType: 'f32', kvDType: 'f32' }),
  ).toThrowErrorMatchingInlineSnapshot(
    `[PageflashError: pageflash: the smallest tile for headDim 128 needs 6672 bytes of workgroup memory; this device allows 4096. Ask for maxComputeWorkgroupStorageSize, or use requestDevice().]`,
  );
});
