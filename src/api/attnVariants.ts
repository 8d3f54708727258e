import type { FloatDType } from '../core/dtype.js';
import { attnPrefillKernel, prefillSpec, wideElements } from '../kernels/attnPrefill.js';
import { gatherTablesKernel } from '../kernels/gatherTables.js';
import { prefillTile } from '../plan/prefillTile.js';
import type { Variant } from '../runtime/pipelines.js';
import type { Runtime } from '../runtime/runtime.js';

/** What decides which kernels a call of `attn` or `attnVarlen` runs. */
export interface AttnVariantOptions {
  readonly headDim: number;
  /** Default `headDim`. */
  readonly headDimV?: number | undefined;
  /** Of q and out. */
  readonly dtype: FloatDType;
  /** Of k and v. Default `dtype`. */
  readonly kvDType?: FloatDType | undefined;
  /** Whether calls pass `blockTable`. Default false. */
  readonly paged?: boolean | undefined;
  /** Whether calls pass `softcap`. Default false. */
  readonly softcap?: boolean | undefined;
  /** Whether calls pass `alibiSlopes`. Default false. */
  readonly alibi?: boolean | undefined;
}

/**
 * The kernels of calls with contiguous tensors, for `runtime.prepare`. Everything that is not an option here, lengths
 * and masks above all, needs no kernel of its own.
 *
 * @example
 * await runtime.prepare(attnVariants(runtime, { headDim: 128, dtype: 'f16', paged: true }));
 */
export function attnVariants(runtime: Runtime, options: AttnVariantOptions): Variant[] {
  const { headDim, headDimV = headDim, dtype, kvDType = dtype } = options;
  const { paged = false, softcap = false, alibi = false } = options;
  const tile = prefillTile(runtime.traits, { headDim, headDimV, qDType: dtype, kvDType, paged });
  const spec = prefillSpec(tile, {
    qDType: dtype,
    kvDType,
    qWide: headDim % wideElements(dtype) === 0,
    kvWide: headDim % wideElements(kvDType) === 0 && headDimV % wideElements(kvDType) === 0,
    outWide: headDimV % 4 === 0,
    paged,
    softcap,
    alibi,
  });
  return [
    { kernel: attnPrefillKernel, spec },
    { kernel: gatherTablesKernel, spec: {} },
  ];
}
