import type { Dispatch } from '../core/dispatch.js';
import type { StructLayout } from '../wgsl/kernel.js';

/** The bytes of a params struct. */
export function packed(layout: StructLayout, params: Dispatch['params']): Uint8Array {
  const view = new DataView(new ArrayBuffer(layout.bytes));
  for (const [name, { offset, type }] of Object.entries(layout.fields)) {
    const value = params[name];
    if (value === undefined) throw new TypeError(`A dispatch lacks the parameter ${name}.`);
    if (type === 'f32') view.setFloat32(offset, value, true);
    else view.setUint32(offset, value, true);
  }
  return new Uint8Array(view.buffer);
}
