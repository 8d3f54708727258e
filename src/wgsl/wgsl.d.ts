/** A kernel, of a file with an entry point. */
declare module '*.wgsl' {
  import type { Kernel } from './kernel.js';
  const kernel: Kernel;
  export default kernel;
}

/** Templates of a file alone. */
declare module '*.wgsl?module' {
  import type { WgslModule } from './kernel.js';
  const module: WgslModule;
  export default module;
}

declare module '*.wgsl?notes' {
  import type { WgslNotes } from './kernel.js';
  const notes: WgslNotes;
  export default notes;
}
