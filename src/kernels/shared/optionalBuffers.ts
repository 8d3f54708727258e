import type { HostData } from '../../core/dispatch.js';
import type { Tensor } from '../../core/tensor.js';
import type { AttentionProblem } from '../../problem/attentionProblem.js';
import type { Kernel } from '../../wgsl/kernel.js';
import { withBindings } from '../../wgsl/reflection.js';
import { modBuffers } from './mods.js';

/** Buffers that an attention kernel binds for some problems only, by their names in WGSL. */
export type OptionalBuffers = Readonly<Record<string, Tensor | HostData>>;

/** The optional buffers that a problem has, but for those of results. */
export function optionalBuffersOf({ pages, scales, mask, bias, mods }: AttentionProblem): OptionalBuffers {
  return {
    ...(pages && { block_table: pages.table }),
    ...(scales?.per === 'token' && { k_scale: scales.k.tensor, v_scale: scales.v.tensor }),
    ...(mask && { mask: mask.tensor }),
    ...(bias && { bias: bias.tensor }),
    ...modBuffers(mods),
  };
}

/** Whether a device can bind what says which tiles masks hide, beside all that a problem binds. */
export function canLinkTiles(problem: AttentionProblem, maxStorageBuffers: number): boolean {
  const { mod_params: _uniform, ...storage } = optionalBuffersOf(problem);
  const always = problem.lse ? 6 : 5;
  return always + Object.keys(storage).length + 1 <= maxStorageBuffers;
}

/** Kernels by the buffers that they bind: each such set has a layout of its own. */
const kernels = new WeakMap<Kernel, Map<string, Kernel>>();

/** An attention kernel with the layout of variants that bind these buffers and no others: many devices bind eight at most. */
export function withBuffers(kernel: Kernel, buffers: Readonly<Record<string, unknown>>): Kernel {
  let bySet = kernels.get(kernel);
  if (!bySet) kernels.set(kernel, (bySet = new Map()));
  const key = Object.keys(buffers).join(' ');
  let chosen = bySet.get(key);
  if (!chosen) {
    const names = new Set(['params', ...Object.keys(buffers)]);
    bySet.set(key, (chosen = withBindings(kernel, (name) => names.has(name))));
  }
  return chosen;
}
