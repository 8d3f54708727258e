import { ensureBesides } from './besides.mjs';
import { ensureChrome } from './browsers.mjs';
import { ensureDeno } from './deno.mjs';
import { setup as setUpVulkan } from './vulkan.mjs';

/**
 * The global setup of the tests in projects of other people's kinds.
 *
 * @param {{ provide(key: string, value: unknown): void }} project
 */
export async function setup(project) {
  await ensureChrome();
  await setUpVulkan(project);
  await ensureBesides({ folder: 'webpack', packages: { webpack: '5.113.0', 'webpack-cli': '7.3.1' } });
  project.provide('deno', await ensureDeno());
}
