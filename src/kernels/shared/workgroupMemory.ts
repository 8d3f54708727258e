/** What variables of these sizes take of workgroup memory: WebGPU counts each in steps of 16 bytes. */
export function variableBytes(sizes: readonly number[]): number {
  return sizes.reduce((total, size) => total + Math.ceil(size / 16) * 16, 0);
}
