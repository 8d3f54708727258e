import type { Tensor } from '../../core/tensor.js';
import type { AttentionProblem } from '../../problem/attentionProblem.js';
import type { Kernel } from '../../wgsl/kernel.js';
import { withBindings } from '../../wgsl/reflection.js';

/** Buffers that an attention kernel binds for some problems only, by their names in WGSL. */
export type OptionalBuffers = Readonly<Record<string, Tensor>>;

/** Their bindings begin here; every variant has those below. */
const FIRST_OPTIONAL = 9;

/** The optional buffers of a problem. */
export function optionalBuffersOf({ scales }: AttentionProblem): OptionalBuffers {
  return {
    ...(scales?.per === 'token' && { k_scale: scales.k.tensor, v_scale: scales.v.tensor }),
  };
}

/** Kernels by the optional buffers that they bind: each such set has a layout of its own. */
const kernels = new WeakMap<Kernel, Map<string, Kernel>>();

/** An attention kernel with the layout of variants that bind these optional buffers, and no others. */
export function withOptional(kernel: Kernel, buffers: OptionalBuffers): Kernel {
  let bySet = kernels.get(kernel);
  if (!bySet) kernels.set(kernel, (bySet = new Map()));
  const key = Object.keys(buffers).join(' ');
  let chosen = bySet.get(key);
  if (!chosen) {
    const isBound = (name: string, binding: number) => binding < FIRST_OPTIONAL || name in buffers;
    bySet.set(key, (chosen = withBindings(kernel, isBound)));
  }
  return chosen;
}
