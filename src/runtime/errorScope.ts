/** Close the innermost error scope: what it has caught. A lost device may refuse to say, which is no error of its own. */
export function closeScope(device: GPUDevice): Promise<GPUError | null> {
  return device.popErrorScope().catch(() => null);
}
