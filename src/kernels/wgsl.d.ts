declare module '*.wgsl' {
  import type { Kernel } from '../core/dispatch.js';
  const kernel: Kernel;
  export default kernel;
}

declare module '*.wgsl?records' {
  import type { WgslRecords } from '../core/dispatch.js';
  const records: WgslRecords;
  export default records;
}

declare module '*.wgsl?notes' {
  import type { WgslNotes } from '../core/dispatch.js';
  const notes: WgslNotes;
  export default notes;
}
