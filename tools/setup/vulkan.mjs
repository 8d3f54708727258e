import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { addBackports } from './backports.mjs';
import { aptInstall, canUseApt, readOsRelease } from './apt.mjs';
import { mayHaveGpu } from './hardware.mjs';

const ICD_DIRS = ['/usr/share/vulkan/icd.d', '/usr/local/share/vulkan/icd.d', '/etc/vulkan/icd.d'];

/**
 * See to it that Dawn in Node finds an adapter, with a software driver where there is no GPU. macOS and Windows need
 * nothing; Linux needs a Vulkan driver, which is installed where apt can.
 */
export async function ensureVulkan() {
  chooseSoftwareDriver();
  if (await hasAdapter()) return;
  if (process.platform === 'linux' && canUseApt()) {
    await installMesa();
    chooseSoftwareDriver();
    if (await hasAdapter()) return;
  }
  throw new Error(
    process.platform === 'linux'
      ? 'Dawn found no GPU adapter: install a Vulkan driver, for example mesa-vulkan-drivers 23 or newer and libvulkan1.'
      : "Dawn found no GPU adapter: install the graphics card's driver.",
  );
}

/** Without a GPU, name the software driver to the Vulkan loader: the drivers of absent GPUs only cost time. */
function chooseSoftwareDriver() {
  if (mayHaveGpu() || process.env.VK_DRIVER_FILES || process.env.VK_ICD_FILENAMES) return;
  const lavapipe = ICD_DIRS.filter(existsSync)
    .flatMap((dir) => readdirSync(dir).map((name) => join(dir, name)))
    .find((path) => /\/lvp_icd[^/]*\.json$/.test(path));
  if (lavapipe) process.env.VK_DRIVER_FILES = lavapipe;
}

/** @returns {Promise<boolean>} */
function hasAdapter() {
  const probe = fileURLToPath(new URL('probeAdapter.mjs', import.meta.url));
  return new Promise((resolve) => execFile(process.execPath, [probe], (error) => resolve(!error)));
}

async function installMesa() {
  const { VERSION_CODENAME } = readOsRelease();
  await aptInstall({
    name: 'a software Vulkan driver',
    packages: ['libvulkan1', 'mesa-vulkan-drivers'],
    // Dawn refuses the Mesa 22.3 of Debian 12.
    ...(VERSION_CODENAME === 'bookworm' && { release: addBackports(VERSION_CODENAME) }),
  });
}

/** The global setup of the tests in Node. */
export { ensureVulkan as setup };
