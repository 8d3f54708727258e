import { createHash } from 'node:crypto';
import {
  kernelVariant,
  type KernelVariantOptions,
  type StandaloneDevice,
} from '../../src/standalone/kernelVariant.js';
import { matrixVariants } from './matrixVariants.js';

/** A kernel variant of which the compiler's figures are kept. */
export interface CompiledVariant {
  /** Tier, kernel and what else decides the variant, such as `T1 attn_decode D128 f16 group 4`. */
  readonly label: string;
  readonly kernel: string;
  /** WGSL, whose entry point is called like the kernel. */
  readonly code: string;
  readonly workgroupSize: number;
  /** Rows and keys that a workgroup takes at a time, in attention. */
  readonly tile: { readonly rows: number; readonly keys: number } | null;
  /** Of the WGSL: figures of another text are not those of this variant. */
  readonly hash: string;
}

/** T0 is what every WebGPU device has; T1 has what RDNA3 has. */
const DEVICES: Readonly<Record<string, StandaloneDevice>> = {
  T0: {},
  T1: { shaderF16: true, subgroupMinSize: 32, subgroupMaxSize: 64, maxWorkgroupBytes: 32768 },
};

const HEAD_DIMS = [64, 128, 256];
const DTYPES = ['f32', 'f16', 'bf16'] as const;
const GROUPS = [1, 4, 8, 16];
/** Formats of quantised caches, whose attention is f16. */
const FORMATS = ['i8', 'e4m3', 'i4'] as const;

/**
 * Every kernel for both tiers, head sizes and types, as a paged cache uses it; decoding with several group sizes; quantised
 * caches, whose heads may be turned; then attn_matrix, which is all that tier T2 has more.
 */
export function compiledVariants(): CompiledVariant[] {
  const variants = Object.entries(DEVICES).flatMap(([tier, device]) =>
    Object.entries(kernels()).map(([name, options]) => ({
      label: `${tier} ${name}`,
      ...kernelVariant({ ...options, device }),
    })),
  );
  return [...variants, ...matrixVariants()].map(({ label, kernel, code, workgroupSize, tile }) => {
    const hash = createHash('sha256').update(code).digest('hex').slice(0, 12);
    return { label, kernel, code, workgroupSize, tile, hash };
  });
}

/** The options of each variant, by its label without the tier. */
function kernels(): Record<string, KernelVariantOptions> {
  const named: Record<string, KernelVariantOptions> = {};
  for (const headDim of HEAD_DIMS) {
    for (const dtype of DTYPES) {
      const rows = { headDim, dtype, paged: true };
      const size = `D${headDim} ${dtype}`;
      for (const group of GROUPS)
        named[`attn_decode ${size} group ${group}`] = { kernel: 'attn_decode', ...rows, group, split: true };
      named[`attn_prefill ${size}`] = { kernel: 'attn_prefill', ...rows };
      named[`attn_weights ${size} group 8`] = { kernel: 'attn_weights', ...rows, group: 8 };
      named[`append_kv ${size} rotary`] = { kernel: 'append_kv', ...rows, rotary: true };
    }
    for (const parts of ['chunks', 'stack', 'pair'] as const)
      named[`merge_states D${headDim} f16 ${parts}`] = {
        kernel: 'merge_states',
        headDim,
        dtype: 'f16',
        parts,
      };
  }
  for (const headDim of [64, 128]) {
    const rows = { headDim, dtype: 'f16', paged: true } as const;
    const size = `D${headDim} f16`;
    for (const kvDType of FORMATS) {
      for (const group of [1, 4, 8])
        named[`attn_decode ${size} group ${group} cache ${kvDType}`] = {
          kernel: 'attn_decode',
          ...rows,
          kvDType,
          group,
          split: true,
        };
      named[`attn_prefill ${size} cache ${kvDType}`] = { kernel: 'attn_prefill', ...rows, kvDType };
      for (const kvRotation of [undefined, 'hadamard'] as const)
        named[`append_quantised ${size} rotary ${kvDType}${kvRotation ? ' turned' : ''}`] = {
          kernel: 'append_quantised',
          ...rows,
          kvDType,
          kvRotation,
          rotary: true,
        };
    }
    for (const heads of ['queries', 'outputs'] as const)
      named[`turn_heads ${size} ${heads}`] = {
        kernel: 'turn_heads',
        headDim,
        dtype: 'f16',
        heads,
        rotary: heads === 'queries',
      };
  }
  for (const kernel of ['copy_pages', 'gather_lengths', 'gather_heads'] as const) named[kernel] = { kernel };
  return named;
}
