import { formatBytes } from './format.js';

/** In words, why a device cannot bind what something needs; undefined if it can. */
export function bindingObstacle({ limits }: GPUDevice, what: string, bytes: number): string | undefined {
  const allowed = Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
  if (bytes <= allowed) return undefined;
  return `${what} ${formatBytes(bytes)}; this device allows ${formatBytes(allowed)} in a binding`;
}
