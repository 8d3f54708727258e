import { expect, test } from 'vitest';
import { kernelVariant, type KernelVariantOptions } from '../../src/standalone/kernelVariant.js';
import { refusal } from '../check/refusal.js';

const WHOLE = { headDim: 64, dtype: 'f16' } as const;

const DECODE = { kernel: 'attn_decode', ...WHOLE } as const;

/** Calls it without types, as JavaScript may. */
function refused(options: unknown): string {
  return refusal(() => kernelVariant(options as KernelVariantOptions));
}

test('options that a kernel does not have, or that are wrong, are refused', () => {
  expect(refused(undefined)).toMatchInlineSnapshot(
    `"argument: kernelVariant: the arguments must be one object, not undefined."`,
  );
  expect(refused({})).toMatchInlineSnapshot(
    `"argument: kernelVariant: kernel must be 'attn_prefill', 'attn_decode', 'attn_weights', 'append_kv', 'append_quantised', 'turn_heads', 'merge_states', 'copy_pages', 'gather_lengths', 'gather_heads' or 'gather_tokens', not undefined."`,
  );
  expect(refused({ kernel: 'attn' })).toMatchInlineSnapshot(
    `"argument: kernelVariant: kernel must be 'attn_prefill', 'attn_decode', 'attn_weights', 'append_kv', 'append_quantised', 'turn_heads', 'merge_states', 'copy_pages', 'gather_lengths', 'gather_heads' or 'gather_tokens', not "attn"."`,
  );
  expect(refused({ kernel: 'attn_matrix', ...WHOLE })).toMatchInlineSnapshot(
    `"argument: kernelVariant: attn_matrix is not given as text: the shape of subgroup matrices is that of one adapter, the extension is an experiment, and drivers are only used once they have passed a self-test. Ask for attn_prefill or attn_decode."`,
  );
  expect(refused({ kernel: 'attn_decode' })).toMatchInlineSnapshot(
    `"argument: kernelVariant: headDim must be a whole number ≥ 1, not undefined."`,
  );
  expect(refused({ ...DECODE, headDim: 600 })).toMatchInlineSnapshot(
    `"shape: kernelVariant: headDim is 600; it must be 1 to 576."`,
  );
  expect(refused({ ...DECODE, dtype: 'i8' })).toMatchInlineSnapshot(
    `"argument: kernelVariant: dtype must be 'f32', 'f16' or 'bf16', not "i8"."`,
  );
  expect(refused({ ...DECODE, pagd: true })).toMatchInlineSnapshot(
    `"argument: kernelVariant: there is no argument pagd. There are kernel, device, headDim, headDimV, dtype, kvDType, scaleDType, paged, softcap, alibi, firstKeys, mask, bias, positions, treeMask, split, returnLse, unaligned, group, tokens. They are those of attn_decode."`,
  );
  expect(refused({ ...DECODE, paged: 1 })).toMatchInlineSnapshot(
    `"argument: kernelVariant: paged must be true or false, not 1."`,
  );
  expect(refused({ ...DECODE, tokens: 64 })).toMatchInlineSnapshot(
    `"argument: kernelVariant: attn_decode takes few rows, not 64 tokens of 1 heads. Ask for attn_prefill."`,
  );
  expect(refused({ kernel: 'attn_prefill', ...WHOLE, group: 4 })).toMatchInlineSnapshot(
    `"argument: kernelVariant: there is no argument group. There are kernel, device, headDim, headDimV, dtype, kvDType, scaleDType, paged, softcap, alibi, firstKeys, mask, bias, positions, treeMask, split, returnLse, unaligned. They are those of attn_prefill."`,
  );
  expect(refused({ kernel: 'append_kv', ...WHOLE, queries: true })).toMatchInlineSnapshot(
    `"argument: kernelVariant: queries are rotated to memory that is laid out like q: pass rotary: true, and neither paged nor another kvDType."`,
  );
  expect(refused({ kernel: 'append_kv', ...WHOLE, appends: false })).toMatchInlineSnapshot(
    `"argument: kernelVariant: there is nothing to do: pass appends: true, queries: true or both."`,
  );
  const both = { kernel: 'append_kv', ...WHOLE, rotary: true, paged: true, queries: true, appends: true };
  expect(refused(both)).toMatchInlineSnapshot(
    `"limit: kernelVariant: append_kv needs 10 storage buffers; this device binds at most 8. If yours binds more, pass its maxStorageBuffers."`,
  );
  expect(refused({ kernel: 'gather_heads', headDim: 64 })).toMatchInlineSnapshot(
    `"argument: kernelVariant: there is no argument headDim. There are kernel, device. They are those of gather_heads."`,
  );
});

test('impossible devices are refused', () => {
  const on = (device: unknown) => refused({ ...DECODE, device });
  expect(on('gpu')).toMatchInlineSnapshot(`"argument: kernelVariant: device must be an object, not "gpu"."`);
  expect(on({ f16: true })).toMatchInlineSnapshot(
    `"argument: kernelVariant: there is no argument device.f16. There are deviceClass, tier, shaderF16, subgroupMinSize, subgroupMaxSize, maxWorkgroupBytes, maxWorkgroupInvocations, maxWorkgroupsPerDimension, maxStorageBuffers."`,
  );
  expect(on({ tier: 'T0', shaderF16: true })).toMatchInlineSnapshot(
    `"argument: kernelVariant: tier T0 uses no optional feature. Leave out shaderF16 and subgroups, or tier."`,
  );
  expect(on({ subgroupMinSize: 12 })).toMatchInlineSnapshot(
    `"argument: kernelVariant: subgroupMinSize must be 0, 4, 8, 16, 32, 64 or 128, not 12."`,
  );
  expect(on({ subgroupMaxSize: 32 })).toMatchInlineSnapshot(
    `"argument: kernelVariant: subgroups have 0 to 32 invocations. Pass the device's subgroupMinSize and subgroupMaxSize, or neither."`,
  );
  expect(on({ maxWorkgroupBytes: 512 })).toMatchInlineSnapshot(
    `"limit: kernelVariant: the smallest tile for headDim 64 needs 4624 bytes of workgroup memory; this device allows 512. Ask for maxComputeWorkgroupStorageSize, or use requestDevice()."`,
  );
  expect(refused({ kernel: 'copy_pages', device: { maxWorkgroupInvocations: 32 } })).toMatchInlineSnapshot(
    `"limit: kernelVariant: copy_pages needs workgroups of 64; this device allows 32 invocations."`,
  );
});

test('formats that a cache cannot have', () => {
  const i8 = { kernel: 'append_quantised', headDim: 96, dtype: 'f16', kvDType: 'i8' } as const;
  expect([
    refused({ ...i8, kvDType: 'f16' as 'i8' }),
    refused({ ...i8, kvDType: 'i4', headDim: 48 }),
    refused({ ...i8, kvDType: 'e4m3', scaleDType: 'f16' }),
    refused({ ...i8, side: 'values', rotary: true }),
    refused({ ...i8, positions: true }),
    refused({ ...i8, kvRotation: 'hadamard' }),
    refused({ ...i8, headDim: 577 }),
  ]).toMatchInlineSnapshot(`
    [
      "argument: kernelVariant: kvDType must be 'i8', 'i4' or 'e4m3', not "f16".",
      "shape: kernelVariant: headDim is 48; i4 needs a multiple of 32. Use i8.",
      "argument: kernelVariant: scaleDType is the type of the scales of i8 and i4, but kvDType is e4m3. Leave it out.",
      "argument: kernelVariant: values are not rotated: leave rotary out, or ask for keys.",
      "argument: kernelVariant: positions of tokens are what heads are rotated by: pass rotary: true, too.",
      "shape: kernelVariant: headDim is 96; kvRotation needs powers of two. Leave it out.",
      "shape: kernelVariant: headDim is 577; it must be 1 to 576.",
    ]
  `);
});
