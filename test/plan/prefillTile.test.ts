import { describe, expect, test } from 'vitest';
import type { DeviceTraits } from '../../src/core/deviceTraits.js';
import { prefillTileKeys, prefillWorkgroupBytes } from '../../src/kernels/attnPrefill.js';
import { prefillTile } from '../../src/plan/prefillTile.js';
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

describe.each(Object.entries(devices))('on %s', (_, traits) => {
  test.each([true, false])('every head size has a tile that the kernel can run (paged: %s)', (paged) => {
    for (let headDim = 1; headDim <= 256; headDim++) {
      for (const headDimV of [1, headDim, 256]) {
        for (const dtype of ['f32', 'f16', 'bf16'] as const) {
          const tile = prefillTile(traits, { headDim, headDimV, qDType: dtype, kvDType: dtype, paged });
          const what = `head sizes ${headDim} and ${headDimV} in ${dtype}`;
          expect(prefillWorkgroupBytes(tile, paged), what).toBeLessThanOrEqual(traits.maxWorkgroupBytes);
          expect(tile.teams * tile.lanes, what).toBeLessThanOrEqual(traits.maxWorkgroupInvocations);
          expect(4 * tile.headQuads, what).toBeGreaterThanOrEqual(headDim);
          expect(4 * tile.cols * tile.lanes, what).toBeGreaterThanOrEqual(headDimV);
          expect(tile.headQuads % tile.sliceQuads, what).toBe(0);
          expect(tile.sliceQuads % 2, what).toBe(0);
          expect(tile.valueKeys % 4, what).toBe(0);
          expect(prefillTileKeys(tile) % tile.valueKeys, what).toBe(0);
        }
      }
    }
  });
});

const D128 = { headDim: 128, headDimV: 128, paged: false };

test('tiles are f16 only where nothing is lost by it', () => {
  const traits = traitsOf({ shaderF16: true });
  const f16Tiles = (qDType: 'f32' | 'f16' | 'bf16', kvDType: 'f32' | 'f16' | 'bf16') =>
    prefillTile(traits, { ...D128, qDType, kvDType }).f16Tiles;
  expect(f16Tiles('f16', 'f16')).toBe(true);
  expect(f16Tiles('f16', 'bf16')).toBe(false);
  expect(f16Tiles('f32', 'f16')).toBe(false);
  expect(f16Tiles('bf16', 'bf16')).toBe(false);
});

test('lanes exchange by subgroups only where one surely holds a team', () => {
  const subgroups = (subgroupMinSize: number) =>
    prefillTile(traitsOf({ subgroupMinSize }), { ...D128, qDType: 'f32', kvDType: 'f32' }).subgroups;
  expect(subgroups(0)).toBe(false);
  expect(subgroups(4)).toBe(false);
  expect(subgroups(8)).toBe(true);
});

test('a device too small for any tile is told what to ask for', () => {
  const traits = traitsOf({ maxWorkgroupBytes: 4096 });
  expect(() =>
    prefillTile(traits, { ...D128, qDType: 'f32', kvDType: 'f32' }),
  ).toThrowErrorMatchingInlineSnapshot(
    `[PageflashError: pageflash: the smallest tile for headDim 128 needs 9504 bytes of workgroup memory; this device allows 4096. Ask for maxComputeWorkgroupStorageSize, or use requestDevice().]`,
  );
});
