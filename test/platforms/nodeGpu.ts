import { createNodeGpu, pollSparingly } from '../../tools/nodeDevice.js';

// Loaded before the program, gives Node what browsers and Deno have. The navigator keeps the GPU alive.
pollSparingly();
Object.defineProperty(globalThis, 'navigator', { value: { gpu: createNodeGpu() }, configurable: true });
