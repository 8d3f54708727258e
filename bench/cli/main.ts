import { openChromeHost } from '../hosts/chromeHost.js';
import { openNodeHost } from '../hosts/nodeHost.js';
import { runBench } from './runBench.js';

await runBench({
  command: 'npm run bench --',
  hosts: { chrome: openChromeHost, node: openNodeHost },
});
