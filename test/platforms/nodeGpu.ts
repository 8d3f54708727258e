import { createNodeGpu } from '../../tools/nodeDevice.js';

// Loaded before the lane's program, gives Node what browsers and Deno have. The navigator keeps the GPU alive.
Object.defineProperty(globalThis, 'navigator', { value: { gpu: createNodeGpu() }, configurable: true });
