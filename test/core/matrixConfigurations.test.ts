import { describe, expect, test } from 'vitest';
import { chooseMatrices, matrixName, type AdapterMatrix } from '../../src/core/matrixConfigurations.js';

const DEVICE = { shaderF16: true, subgroupMaxSize: 32, maxWorkgroupInvocations: 256 };

/** From `f16>f32 16×8×16`. */
function configurations(...texts: readonly string[]): AdapterMatrix[] {
  return texts.map((text) => {
    const [, componentType, resultComponentType, M, N, K] = /(\w+)>(\w+) (\d+)×(\d+)×(\d+)/.exec(text)!;
    return {
      componentType: componentType!,
      resultComponentType: resultComponentType!,
      M: Number(M),
      N: Number(N),
      K: Number(K),
    };
  });
}

function choice(listed: readonly AdapterMatrix[], device: Partial<typeof DEVICE> = {}): string {
  const chosen = chooseMatrices(listed, { ...DEVICE, ...device });
  return 'refusal' in chosen ? chosen.refusal : matrixName(chosen.matrices);
}

/** As adapters list them, in their order. */
const ADAPTERS = {
  nvidia: configurations(
    'f16>f16 16×16×16',
    'f16>f16 16×8×16',
    'f16>f16 16×8×8',
    'f16>f32 16×8×8',
    'f16>f32 16×8×16',
    'f16>f32 16×16×16',
    'i8>i32 16×16×32',
    'i8>i32 16×8×32',
    'u8>u32 16×16×32',
  ),
  metal: configurations('f32>f32 8×8×8', 'f16>f16 8×8×8'),
  rdna3: configurations('f16>f32 16×16×16', 'f16>f16 16×16×16', 'i8>i32 16×16×16'),
  xe2: configurations('i8>i32 8×16×32', 'f16>f16 8×16×16', 'f16>f32 8×16×16'),
  lavapipe: configurations('i8>i32 8×8×8', 'f16>f32 8×8×8'),
};

describe('of the configurations of', () => {
  test.each([
    ['nvidia', 'f16 → f32 in 16×16×16'],
    ['metal', 'f32 → f32 in 8×8×8'],
    ['rdna3', 'f16 → f32 in 16×16×16'],
    ['xe2', 'f16 → f32 in 8×16×16'],
    ['lavapipe', 'f16 → f32 in 8×8×8'],
  ] as const)('%s, %s is chosen', (adapter, expected) => {
    const listed = ADAPTERS[adapter];
    expect(choice(listed)).toBe(expected);
    expect(choice(listed.toReversed())).toBe(expected);
  });
});

test('f16 comes before f32, known sizes before others, and of others the largest', () => {
  const inOrder = configurations(
    'f16>f32 16×16×16',
    'f16>f32 16×8×16',
    'f16>f32 16×8×8',
    'f16>f32 8×16×16',
    'f16>f32 8×8×8',
    'f16>f32 64×64×64',
    'f16>f32 32×8×16',
    'f16>f32 16×16×8',
    'f16>f32 8×32×8',
    'f32>f32 16×16×16',
    'f32>f32 8×8×8',
    'f32>f32 32×32×8',
  );
  inOrder.forEach((best, i) => {
    expect(choice(inOrder.slice(i).toReversed())).toBe(matrixName(best));
  });
});

test('what is chosen is a copy of the five fields', () => {
  const [listed] = configurations('f16>f32 16×8×16');
  const chosen = chooseMatrices([{ ...listed!, more: 1 } as AdapterMatrix], DEVICE);
  expect(chosen).toEqual({ matrices: listed });
});

test('a list that offers nothing says what it has', () => {
  expect([
    choice([]),
    choice(configurations('f16>f16 16×16×16', 'i8>i32 16×16×32')),
    choice(configurations('f16>f32 16×16×4', 'bf16>f32 16×16×16', 'f16>f32 0×8×8')),
  ]).toMatchInlineSnapshot(`
    [
      "no configuration of the adapter multiplies f16 or f32 into sums of f32 in multiples of 8; there are none.",
      "no configuration of the adapter multiplies f16 or f32 into sums of f32 in multiples of 8; there are f16 → f16 in 16×16×16, i8 → i32 in 16×16×32.",
      "no configuration of the adapter multiplies f16 or f32 into sums of f32 in multiples of 8; there are f16 → f32 in 16×16×4, bf16 → f32 in 16×16×16, f16 → f32 in 0×8×8.",
    ]
  `);
});

test('a device that lacks what matrices need says so', () => {
  expect([
    choice(ADAPTERS.nvidia, { shaderF16: false }),
    choice(ADAPTERS.metal, { shaderF16: false }),
    choice(ADAPTERS.metal, { subgroupMaxSize: 0 }),
    choice(ADAPTERS.nvidia, { maxWorkgroupInvocations: 31 }),
    choice(ADAPTERS.nvidia, { maxWorkgroupInvocations: 32 }),
  ]).toMatchInlineSnapshot(`
    [
      "the configurations of the adapter multiply f16, and the device was made without shader-f16.",
      "f32 → f32 in 8×8×8",
      "the device was made without subgroups.",
      "a subgroup may have 32 invocations, but the device allows 31 in a workgroup.",
      "f16 → f32 in 16×16×16",
    ]
  `);
});
