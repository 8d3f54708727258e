// A program that drops all references to what the package `webgpu` returned, and exits by itself.
import { createRuntime, read, requestDevice, tensorFrom } from 'pageflash';
import { create, globals } from 'webgpu';

Object.assign(globalThis, globals);

async function work() {
  const device = await requestDevice({ gpu: create([]) });
  const runtime = createRuntime(device);
  console.log((await read(runtime, tensorFrom(runtime, [1, 2, 3]))).join());
  if (process.argv.includes('destroy')) device.destroy();
}

for (let i = 0; i < 2; i++) {
  await work();
  globalThis.gc?.();
  await new Promise((resolve) => setTimeout(resolve, 20));
}
