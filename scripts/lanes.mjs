// node scripts/lanes.mjs [OPTION...]: installs what the lanes need and runs test/platforms/main.ts, which knows the options.
import { parseArgs } from 'node:util';
import { runProgram } from '../tools/runProgram.mjs';
import { bundleForNode } from '../tools/bundleForNode.mjs';
import { ensureDeno } from '../tools/setup/deno.mjs';
import { ensureFirefox } from '../tools/setup/firefox.mjs';
import { ensureMesaSid } from '../tools/setup/mesaSid.mjs';

const args = process.argv.slice(2);
const { values } = parseArgs({
  args,
  strict: false,
  options: {
    lane: { type: 'string', default: 'node,mesa-sid,chrome,deno,firefox' },
    help: { type: 'boolean', short: 'h' },
  },
});
const lanes = values.help ? [] : String(values.lane).split(',');
/** @type {(name: string) => boolean} */
const wants = (name) => lanes.includes(name);

const programs = {
  ...(wants('deno') && { deno: await ensureDeno() }),
  ...(wants('firefox') && { firefox: await ensureFirefox() }),
  ...(wants('mesa-sid') && { mesaSid: await ensureMesaSid() }),
};
await bundleForNode({
  entry: 'test/platforms/nodeGpu.ts',
  out: 'node_modules/.cache/pageflash/lanes/nodeGpu.mjs',
  external: ['webgpu'],
});
await runProgram({
  entry: 'test/platforms/main.ts',
  args: [...args, '--programs', JSON.stringify(programs)],
  // naga comes without a driver, too.
  needs: [...(wants('chrome') ? ['chrome'] : []), ...(lanes.length > 0 ? ['vulkan'] : [])],
});
