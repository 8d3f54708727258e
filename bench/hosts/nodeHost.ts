import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { createNodeGpu } from '../../tools/nodeDevice.js';
import { DeviceBench, type BenchHost } from '../device/deviceBench.js';
import { onnxRuntimeDist } from './onnxRuntimeDist.js';

/** Opens the benchmark in this process, on Dawn. */
export async function openNodeHost(): Promise<BenchHost> {
  const gpu = createNodeGpu();
  const dist = onnxRuntimeDist();
  const bench = new DeviceBench(gpu, dist === undefined ? undefined : `${pathToFileURL(dist).href}/`);
  return {
    environment: `Node ${process.versions.node}, Dawn of webgpu ${webgpuVersion()}`,
    adapter: await bench.adapter(),
    measure: (...args) => bench.measure(...args),
    measureRecording: (quick) => bench.measureRecording(quick),
    measureSweep: (...args) => bench.measureSweep(...args),
    measureCeilings: () => bench.measureCeilings(),
    measureOnnx: (...args) => bench.measureOnnx(...args),
    close: () => bench.destroy(),
  };
}

function webgpuVersion(): string {
  try {
    const path = createRequire(import.meta.url).resolve('webgpu/package.json');
    return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version;
  } catch {
    return 'of an unknown version';
  }
}
