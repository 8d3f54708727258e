// node scripts/platforms.mjs [OPTION...]: installs what the platforms need and runs test/platforms/main.ts, which knows the
// options.
import { parseArgs } from 'node:util';
import { runProgram } from '../tools/runProgram.mjs';
import { ensureDeno } from '../tools/setup/deno.mjs';
import { browserOnMesa } from '../tools/setup/browserOnMesa.mjs';
import { ensureFirefox } from '../tools/setup/browsers.mjs';
import { ensureMesa } from '../tools/setup/mesa.mjs';
import { ensureQuickVulkan } from '../tools/setup/vulkan.mjs';

const args = process.argv.slice(2);
const { values } = parseArgs({
  args,
  strict: false,
  options: {
    platform: { type: 'string', default: 'node,mesa-sid,chrome,deno,firefox' },
    help: { type: 'boolean', short: 'h' },
  },
});
const platforms = values.help ? [] : String(values.platform).split(',');
/** @type {(name: string) => boolean} */
const wants = (name) => platforms.includes(name);

// naga comes without a driver, too.
const mesa = platforms.length > 0 ? await ensureQuickVulkan() : undefined;
const programs = {
  mesa,
  ...(wants('deno') && { deno: await ensureDeno() }),
  ...(wants('firefox') && { firefox: browserOnMesa(await ensureFirefox(), mesa) }),
  ...(wants('mesa-sid') && { mesaSid: await ensureMesa('sid') }),
};
await runProgram({
  entry: 'test/platforms/main.ts',
  args: [...args, '--programs', JSON.stringify(programs)],
  needs: wants('chrome') ? ['chrome'] : [],
});
