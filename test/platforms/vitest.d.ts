import type { UnpackedMesa } from './hosts.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** The driver to run cases in Node on; undefined for the machine's own. */
    mesa: UnpackedMesa | undefined;
  }
}
