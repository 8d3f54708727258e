// Prints the name of the adapter that Dawn finds, and fails if there is none. A process of its own, since a driver may
// crash the one that loads it.
import { create } from 'webgpu';

const gpu = create([]);
const adapter = await gpu.requestAdapter().catch(() => null);
if (adapter) console.log(adapter.info.description || adapter.info.device);
else process.exitCode = 1;
