// Exits with 0 if Dawn finds an adapter. A process of its own, since a driver may crash the one that loads it.
import { create } from 'webgpu';

const gpu = create([]);
const adapter = await gpu.requestAdapter().catch(() => null);
process.exitCode = adapter ? 0 : 1;
