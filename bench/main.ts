import { openChromeBench } from './chromeBench.js';
import { openNodeBench } from './nodeBench.js';
import { runBench } from './runBench.js';

await runBench({
  command: 'npm run bench --',
  benches: { chrome: openChromeBench, node: openNodeBench },
});
