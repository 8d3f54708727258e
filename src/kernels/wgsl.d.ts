declare module '*.wgsl' {
  import type { Kernel } from '../core/dispatch.js';
  const kernel: Kernel;
  export default kernel;
}
