import type { Kernel } from '../../src/wgsl/kernel.js';

/** A kernel that no compiler takes: in its second line, a number is not of its type. */
export const BROKEN_KERNEL: Kernel = {
  name: 'broken',
  modules: ['#;@compute @workgroup_size(1) fn broken() {\n  let x: u32 = -1.5;\n}'],
  bindings: [],
  params: { bytes: 16, fields: {} },
};
