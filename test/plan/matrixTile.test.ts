import { describe, expect, test } from 'vitest';
import type { DeviceTraits, MatrixConfiguration } from '../../src/core/deviceTraits.js';
import type { FloatDType, KvDType } from '../../src/core/dtype.js';
import {
  matrixInvocations,
  matrixRowLanes,
  matrixTileRows,
  matrixWorkgroupBytes,
  type MatrixTile,
} from '../../src/kernels/attnMatrix.js';
import {
  matrixDecodeCandidates,
  matrixPrefillCandidates,
  type MatrixTileArgs,
} from '../../src/plan/matrixTile.js';
import { chooseDecodeTile } from '../../src/plan/tunedTiles.js';
import { traitsOf } from './traits.js';

const matricesOf = (
  M: number,
  N: number,
  K: number,
  componentType: 'f16' | 'f32' = 'f16',
): MatrixConfiguration => ({ componentType, resultComponentType: 'f32', M, N, K });

function deviceOf(matrices: MatrixConfiguration, traits: Partial<DeviceTraits>): DeviceTraits {
  const limits = { maxWorkgroupBytes: 32768, maxWorkgroupInvocations: 1024 };
  return traitsOf({ tier: 'T2', shaderF16: true, matrices, ...limits, ...traits });
}

const of32 = { subgroupMinSize: 32, subgroupMaxSize: 32 };
const of32To64 = { subgroupMinSize: 32, subgroupMaxSize: 64 };
const of16To32 = { subgroupMinSize: 16, subgroupMaxSize: 32 };
const control = { subgroupSizeControl: true };

/** What adapters list, and the limits of their devices. */
const DEVICES = {
  NVIDIA: deviceOf(matricesOf(16, 16, 16), { ...of32, maxWorkgroupBytes: 49152 }),
  'NVIDIA with default limits': deviceOf(matricesOf(16, 16, 16), {
    ...of32,
    maxWorkgroupBytes: 16384,
    maxWorkgroupInvocations: 256,
  }),
  'NVIDIA by 16 × 8': deviceOf(matricesOf(16, 8, 16), { ...of32, maxWorkgroupBytes: 49152 }),
  Metal: deviceOf(matricesOf(8, 8, 8, 'f32'), of32),
  'Metal of halves': deviceOf(matricesOf(8, 8, 8), of32),
  RDNA3: deviceOf(matricesOf(16, 16, 16), { ...of32To64, ...control, vendor: 'amd' }),
  'RDNA3 without size control': deviceOf(matricesOf(16, 16, 16), { ...of32To64, vendor: 'amd' }),
  Xe2: deviceOf(matricesOf(8, 16, 16), { ...of16To32, ...control }),
  'Xe2 without size control': deviceOf(matricesOf(8, 16, 16), of16To32),
  lavapipe: deviceOf(matricesOf(8, 8, 8), {
    deviceClass: 'software',
    subgroupMinSize: 8,
    subgroupMaxSize: 8,
  }),
} satisfies Record<string, DeviceTraits>;
type Device = keyof typeof DEVICES;

function argsOf(headDim: number, dtype: FloatDType = 'f16'): MatrixTileArgs {
  return { headDim, headDimV: headDim, qDType: dtype, kvDType: dtype, paged: true };
}

/** Rows × keys, subgroups that share a strip, matrices of rows in a strip, and the size of subgroups. */
function described(tile: MatrixTile | undefined): string {
  if (!tile) return 'none';
  const { keys, parts, rowBlocks, subgroup, pinned, varying } = tile;
  const size = `${subgroup}${pinned ? ' demanded' : varying ? ' at most' : ''}`;
  return `${matrixTileRows(tile)} × ${keys}, parts ${parts}, blocks ${rowBlocks}, of ${size}`;
}

describe('the tile for prompts', () => {
  test.each<{ device: Device; headDim: number; dtype?: FloatDType; tile: string; why: string }>([
    { device: 'NVIDIA', headDim: 64, tile: '64 × 32, parts 2, blocks 2, of 32', why: 'the fastest' },
    { device: 'NVIDIA', headDim: 128, tile: '128 × 32, parts 2, blocks 2, of 32', why: 'the fastest' },
    {
      device: 'NVIDIA',
      headDim: 256,
      tile: '64 × 32, parts 2, blocks 1, of 32',
      why: 'the fastest that fits',
    },
    { device: 'NVIDIA', headDim: 1, tile: '64 × 32, parts 2, blocks 2, of 32', why: 'dims are padded' },
    {
      device: 'NVIDIA with default limits',
      headDim: 64,
      tile: '32 × 16, parts 1, blocks 1, of 32',
      why: 'little workgroup memory',
    },
    { device: 'NVIDIA with default limits', headDim: 256, tile: 'none', why: 'no room for 16 keys' },
    {
      device: 'NVIDIA by 16 × 8',
      headDim: 128,
      tile: '128 × 32, parts 2, blocks 2, of 32',
      why: 'narrow matrices, twice as many',
    },
    {
      device: 'Metal',
      headDim: 64,
      dtype: 'f32',
      tile: '32 × 32, parts 1, blocks 1, of 32',
      why: 'f32 takes twice the memory',
    },
    { device: 'Metal', headDim: 64, tile: '32 × 32, parts 1, blocks 1, of 32', why: 'f16 becomes f32' },
    {
      device: 'Metal',
      headDim: 128,
      tile: '32 × 16, parts 1, blocks 2, of 32',
      why: 'f32 of 32 keys has no room',
    },
    { device: 'Metal of halves', headDim: 128, tile: '64 × 32, parts 2, blocks 2, of 32', why: '32 KiB' },
    { device: 'NVIDIA', headDim: 128, dtype: 'f32', tile: 'none', why: 'f16 would lose what f32 holds' },
    {
      device: 'NVIDIA',
      headDim: 128,
      dtype: 'bf16',
      tile: '128 × 32, parts 2, blocks 2, of 32',
      why: 'bf16 is scaled',
    },
    {
      device: 'RDNA3',
      headDim: 128,
      tile: '64 × 32, parts 2, blocks 1, of 32 demanded',
      why: 'queries of two blocks would fill half of the registers',
    },
    { device: 'RDNA3', headDim: 64, tile: '64 × 32, parts 2, blocks 2, of 32 demanded', why: 'no spills' },
    { device: 'RDNA3', headDim: 256, tile: 'none', why: 'queries alone would fill half of the registers' },
    {
      device: 'RDNA3 without size control',
      headDim: 128,
      tile: 'none',
      why: 'too few registers, should they be of 32',
    },
    {
      device: 'RDNA3 without size control',
      headDim: 256,
      tile: 'none',
      why: 'queries alone would fill half of the registers',
    },
    { device: 'Xe2', headDim: 128, tile: '64 × 32, parts 2, blocks 2, of 32 demanded', why: '32 KiB' },
    {
      device: 'Xe2 without size control',
      headDim: 128,
      tile: '64 × 32, parts 2, blocks 2, of 32 at most',
      why: 'enough invocations for either size',
    },
    {
      device: 'lavapipe',
      headDim: 64,
      tile: '32 × 32, parts 4, blocks 1, of 8',
      why: 'few matrices a subgroup',
    },
    { device: 'NVIDIA', headDim: 320, tile: 'none', why: 'no registers for its sums' },
    { device: 'lavapipe', headDim: 256, tile: '32 × 16, parts 1, blocks 1, of 8', why: '32 KiB' },
  ])('$device, head size $headDim of $dtype: $tile ($why)', ({ device, headDim, dtype, tile }) => {
    const [first] = matrixPrefillCandidates(DEVICES[device], argsOf(headDim, dtype));
    expect(described(first)).toBe(tile);
  });
});

describe('the tile for prompts over quantised caches', () => {
  const cache = (kvDType: KvDType, turned?: FloatDType, lse?: boolean) => ({
    kvDType,
    ...(turned && { qDType: 'f32' as const, turnedDType: turned }),
    ...(lse && { lse }),
  });
  test.each<{ device: Device; of: Partial<MatrixTileArgs>; tile: string; why: string }>([
    { device: 'NVIDIA', of: cache('i8'), tile: '128 × 32, parts 2, blocks 2, of 32', why: 'as of f16' },
    {
      device: 'NVIDIA',
      of: cache('i8', 'f16'),
      tile: '128 × 32, parts 2, blocks 2, of 32',
      why: 'as of f16',
    },
    { device: 'NVIDIA', of: cache('i4', 'bf16'), tile: '128 × 32, parts 2, blocks 2, of 32', why: 'rounded' },
    {
      device: 'NVIDIA',
      of: cache('i4'),
      tile: '64 × 32, parts 2, blocks 2, of 32',
      why: 'two tiles of keys',
    },
    {
      device: 'NVIDIA',
      of: cache('i4', 'bf16', true),
      tile: '64 × 32, parts 2, blocks 2, of 32',
      why: 'an exact lse',
    },
    { device: 'NVIDIA', of: cache('i8', 'f32'), tile: 'none', why: 'the caller has f32' },
    { device: 'NVIDIA', of: { ...cache('i8'), qDType: 'f32' }, tile: 'none', why: 'the caller has f32' },
    { device: 'RDNA3', of: cache('i8'), tile: '64 × 32, parts 2, blocks 1, of 32 demanded', why: '32 KiB' },
    {
      device: 'RDNA3',
      of: cache('i8', 'f16'),
      tile: 'none',
      why: 'two matrices of queries, in too many registers',
    },
    {
      device: 'RDNA3',
      of: cache('i8', 'bf16'),
      tile: '64 × 32, parts 2, blocks 1, of 32 demanded',
      why: 'rounded',
    },
    { device: 'Metal', of: cache('i4'), tile: '32 × 16, parts 1, blocks 2, of 32', why: 'f32 holds all' },
    {
      device: 'Xe2',
      of: cache('i8', 'f16'),
      tile: '64 × 32, parts 2, blocks 2, of 32 demanded',
      why: '32 KiB',
    },
  ])('$device, $of: $tile ($why)', ({ device, of, tile }) => {
    const [first] = matrixPrefillCandidates(DEVICES[device], { ...argsOf(128), ...of });
    expect(described(first)).toBe(tile);
  });
});

describe('the tile for steps', () => {
  test.each<{ device: Device; headDim: number; nRows: number; tile: string; why: string }>([
    {
      device: 'NVIDIA',
      headDim: 128,
      nRows: 4,
      tile: '16 × 64, parts 4, blocks 1, of 32',
      why: 'rows padded',
    },
    {
      device: 'NVIDIA',
      headDim: 128,
      nRows: 16,
      tile: '16 × 64, parts 4, blocks 1, of 32',
      why: 'rows of one matrix',
    },
    {
      device: 'NVIDIA',
      headDim: 64,
      nRows: 20,
      tile: '32 × 64, parts 4, blocks 1, of 32',
      why: 'two strips',
    },
    { device: 'NVIDIA', headDim: 256, nRows: 8, tile: '16 × 32, parts 2, blocks 1, of 32', why: '48 KiB' },
    { device: 'NVIDIA', headDim: 128, nRows: 3, tile: 'none', why: 'most of a matrix would be empty' },
    {
      device: 'Metal of halves',
      headDim: 128,
      nRows: 8,
      tile: '8 × 32, parts 1, blocks 1, of 32',
      why: '32 KiB',
    },
    {
      device: 'RDNA3',
      headDim: 128,
      nRows: 4,
      tile: 'none',
      why: 'loads ahead would leave too few registers',
    },
    {
      device: 'RDNA3 without size control',
      headDim: 64,
      nRows: 8,
      tile: '16 × 64, parts 2, blocks 1, of 64 at most',
      why: 'four parts would be 16 lanes for 8 octets of keys',
    },
    {
      device: 'Xe2',
      headDim: 64,
      nRows: 8,
      tile: '8 × 64, parts 2, blocks 1, of 32 demanded',
      why: 'rows of one matrix',
    },
    { device: 'lavapipe', headDim: 128, nRows: 4, tile: '8 × 32, parts 2, blocks 1, of 8', why: '32 KiB' },
  ])('$device, head size $headDim, $nRows rows: $tile ($why)', ({ device, headDim, nRows, tile }) => {
    const [first] = matrixDecodeCandidates(DEVICES[device], { ...argsOf(headDim), nRows });
    expect(described(first)).toBe(tile);
  });

  test('attn_decode takes all steps that were not tuned', () => {
    for (const nRows of [1, 4, 16])
      expect(Object.keys(chooseDecodeTile(DEVICES.NVIDIA, { ...argsOf(128), nRows }, 'test'))).toEqual([
        'decode',
      ]);
  });
});

describe.each(Object.entries(DEVICES))('on %s', (_, traits) => {
  test.each([16384, 32768, 49152])('tiles of all head sizes can run in %d bytes', (maxWorkgroupBytes) => {
    const limited = { ...traits, maxWorkgroupBytes };
    let count = 0;
    const problems: string[] = [];
    for (let headDim = 1; headDim <= 256; headDim++) {
      for (const headDimV of [1, headDim, 256]) {
        for (const paged of [false, true]) {
          const args = { ...argsOf(headDim), headDimV, paged };
          const tiles = [
            ...matrixPrefillCandidates(limited, args),
            ...[4, 16, 71].flatMap((nRows) => matrixDecodeCandidates(limited, { ...args, nRows })),
          ];
          problems.push(...tiles.flatMap((tile) => problemsOf(tile, limited, args)));
          count += tiles.length;
        }
      }
    }
    expect(problems.slice(0, 5)).toEqual([]);
    expect(count).toBeGreaterThan(0);
  });

  test('candidates are told apart by their shapes', () => {
    for (const headDim of [32, 64, 80, 128, 256]) {
      const [prefill, decode] = [
        matrixPrefillCandidates(traits, argsOf(headDim)),
        matrixDecodeCandidates(traits, { ...argsOf(headDim), nRows: 8 }),
      ];
      for (const tiles of [prefill, decode]) expect(new Set(tiles.map(described)).size).toBe(tiles.length);
    }
  });

  test('tiles of f16 take no f32', () => {
    const isOfF16 = traits.matrices!.componentType === 'f16';
    const types = [
      ['f32', 'f32'],
      ['f32', 'f16'],
      ['f16', 'f32'],
      ['bf16', 'f32'],
    ] as const;
    for (const [qDType, kvDType] of types) {
      const args = { ...argsOf(64), qDType, kvDType };
      const all = [
        ...matrixPrefillCandidates(traits, args),
        ...matrixDecodeCandidates(traits, { ...args, nRows: 8 }),
      ];
      expect(all.length > 0).toBe(!isOfF16);
    }
  });

  test('without matrices there are none', () => {
    const without = { ...traits, matrices: null };
    expect(matrixPrefillCandidates(without, argsOf(64))).toEqual([]);
    expect(matrixDecodeCandidates(without, { ...argsOf(64), nRows: 8 })).toEqual([]);
  });
});

/** What keeps a tile from running, by name. */
function problemsOf(tile: MatrixTile, traits: DeviceTraits, args: MatrixTileArgs): string[] {
  const { M, N, K } = tile.matrices;
  const rowLanes = matrixRowLanes(tile);
  const isWhole = (value: number): boolean => Number.isInteger(value) && value > 0;
  const holds: Readonly<Record<string, boolean>> = {
    'matrices fill the keys': isWhole(tile.keys / N / tile.parts) && isWhole(tile.keys / K),
    'matrices fill the dims': isWhole(tile.dims / K) && isWhole(tile.dimsV / N / tile.parts),
    'rows of q go through lines of keys, a matrix at a time': isWhole(tile.keys / M),
    'a power of two of lanes has a row': isWhole(rowLanes) && Number.isInteger(Math.log2(rowLanes)),
    'each lane has whole octets of keys': isWhole(tile.keys / 8 / rowLanes),
    'lanes of a row are in a subgroup, however small it is':
      rowLanes <= (tile.varying ? traits.subgroupMinSize : tile.subgroup),
    'subgroups are whole': isWhole(matrixInvocations(tile) / tile.subgroup),
    'a subgroup is one that the device has':
      tile.subgroup >= traits.subgroupMinSize && tile.subgroup <= traits.subgroupMaxSize,
    'a size is demanded only where it can be': !tile.pinned || traits.subgroupSizeControl,
    'a size is demanded or varies': !(tile.pinned && tile.varying),
    'dims are padded to multiples of 32':
      tile.dims % 32 === 0 && tile.dims >= args.headDim && tile.dims - args.headDim < 32,
    'dims of v are padded': tile.dimsV % 32 === 0 && tile.dimsV >= args.headDimV,
    'a block of o has room among the scores': tile.parts * N <= tile.keys + 4,
    'there is workgroup memory': matrixWorkgroupBytes(tile, args) <= traits.maxWorkgroupBytes,
    'there are invocations': matrixInvocations(tile) <= traits.maxWorkgroupInvocations,
  };
  return Object.entries(holds)
    .filter(([, does]) => !does)
    .map(
      ([name]) => `${name}: not for head sizes ${args.headDim} and ${args.headDimV}, ${JSON.stringify(tile)}`,
    );
}
