import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { addBackports, aptInstall, canUseApt, readOsRelease } from './apt.mjs';
import { ensureMesa } from './mesa.mjs';

const ICD_DIRS = ['/usr/share/vulkan/icd.d', '/usr/local/share/vulkan/icd.d', '/etc/vulkan/icd.d'];

/**
 * See to it that Dawn in Node finds an adapter, with a software driver where there is no GPU. macOS and Windows need
 * nothing; Linux needs a Vulkan driver, which is installed where apt can.
 *
 * @returns {Promise<string>} the adapter's name
 */
export async function ensureVulkan() {
  chooseSoftwareDriver();
  const found = await findAdapter();
  if (found !== undefined) return found;
  if (process.platform === 'linux' && canUseApt()) {
    await installMesa();
    chooseSoftwareDriver();
    const installed = await findAdapter();
    if (installed !== undefined) return installed;
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

/**
 * Whether a GPU may be here: on Linux by its device nodes, which a container without one lacks; elsewhere always,
 * as macOS and Windows bring a driver for every display.
 */
function mayHaveGpu() {
  if (process.platform !== 'linux') return true;
  const renderNodes =
    existsSync('/dev/dri') && readdirSync('/dev/dri').some((name) => name.startsWith('renderD'));
  return renderNodes || existsSync('/dev/nvidiactl') || existsSync('/dev/dxg');
}

/** @returns {Promise<string | undefined>} the name of the adapter that Dawn finds */
function findAdapter() {
  const probe = fileURLToPath(new URL('probeAdapter.mjs', import.meta.url));
  return new Promise((resolve) =>
    execFile(process.execPath, [probe], (error, stdout) => resolve(error ? undefined : stdout)),
  );
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

/** The first Mesa whose software driver compiles kernels in a tenth of the time that older ones take. */
const QUICK_MESA = 26;

/**
 * The driver for GPU cases where the machine's own would take minutes to compile them: a newer Mesa of Debian.
 *
 * @param {string} adapter the name of the one that the machine has
 * @returns {Promise<import('./mesa.mjs').UnpackedMesa | undefined>} undefined if the machine's driver is to be used
 */
async function quickerMesa(adapter) {
  const [, version] = /^llvmpipe: Mesa (\d+)/.exec(adapter) ?? [];
  if (!version || Number(version) >= QUICK_MESA || process.platform !== 'linux') return undefined;
  try {
    return await ensureMesa('backports');
  } catch (error) {
    const { message } = /** @type {Error} */ (error);
    console.warn(`The GPU cases take many minutes on Mesa ${version}: ${message}`);
    return undefined;
  }
}

/**
 * See to it that GPU cases find an adapter, and one that compiles quickly. They are compiled far longer than they run, so a
 * Mesa is told to leave out what optimises its code, which takes a third of that time.
 *
 * @returns {Promise<import('./mesa.mjs').UnpackedMesa | undefined>} the driver to run them on; undefined for the machine's
 *   own
 */
export async function ensureQuickVulkan() {
  process.env.GALLIVM_PERF ??= 'nopt';
  return quickerMesa(await ensureVulkan());
}

/**
 * The global setup of the tests in Node.
 *
 * @param {{ provide(key: string, value: unknown): void }} project
 */
export async function setup(project) {
  project.provide('mesa', await ensureQuickVulkan());
}
