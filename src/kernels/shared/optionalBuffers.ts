import type { Tensor } from '../../core/tensor.js';
import type { AttentionProblem } from '../../problem/attentionProblem.js';
import type { Kernel } from '../../wgsl/kernel.js';
import { withBindings } from '../../wgsl/reflection.js';

/** Buffers that an attention kernel binds for some problems only, by their names in WGSL. */
export type OptionalBuffers = Readonly<Record<string, Tensor>>;

/** Their bindings begin here; every variant has those below. */
const FIRST_OPTIONAL = 9;

/** The optional buffers of a problem. */
export function optionalBuffersOf({ scales, mask, bias }: AttentionProblem): OptionalBuffers {
  return {
    ...(scales?.per === 'token' && { k_scale: scales.k.tensor, v_scale: scales.v.tensor }),
    ...(mask && { mask: mask.tensor }),
    ...(bias && { bias: bias.tensor }),
  };
}

/** Kernels by the optional buffers that they bind: each such set has a layout of its own. */
const kernels = new WeakMap<Kernel, Map<string, Kernel>>();

/**
 * An attention kernel with the layout of variants that bind these optional buffers, and no others. To make room for them on
 * devices that bind eight, keys that are not paged then have no place for a block table.
 */
export function withOptional(
  kernel: Kernel,
  { pages }: Pick<AttentionProblem, 'pages'>,
  buffers: OptionalBuffers,
): Kernel {
  let bySet = kernels.get(kernel);
  if (!bySet) kernels.set(kernel, (bySet = new Map()));
  const names = Object.keys(buffers);
  const hasTable = pages !== null || names.length === 0;
  const key = [...names, hasTable].join(' ');
  let chosen = bySet.get(key);
  if (!chosen) {
    const isBound = (name: string, binding: number) =>
      name === 'block_table' ? hasTable : binding < FIRST_OPTIONAL || name in buffers;
    bySet.set(key, (chosen = withBindings(kernel, isBound)));
  }
  return chosen;
}
