declare module '*.wgsl' {
  import type { Kernel } from './kernel.js';
  const kernel: Kernel;
  export default kernel;
}

declare module '*.wgsl?records' {
  import type { WgslRecords } from './kernel.js';
  const records: WgslRecords;
  export default records;
}

declare module '*.wgsl?notes' {
  import type { WgslNotes } from './kernel.js';
  const notes: WgslNotes;
  export default notes;
}
