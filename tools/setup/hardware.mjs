import { existsSync, readdirSync } from 'node:fs';

/**
 * Whether a GPU may be here: on Linux by its device nodes, which a container without one lacks; elsewhere always,
 * as macOS and Windows bring a driver for every display.
 */
export function mayHaveGpu() {
  if (process.platform !== 'linux') return true;
  const renderNodes =
    existsSync('/dev/dri') && readdirSync('/dev/dri').some((name) => name.startsWith('renderD'));
  return renderNodes || existsSync('/dev/nvidiactl') || existsSync('/dev/dxg');
}
