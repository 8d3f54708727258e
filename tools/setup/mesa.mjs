import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { aptSources } from './apt.mjs';

const run = promisify(execFile);

/**
 * The releases of Debian whose Mesa can be unpacked, as apt wants them: the suites that packages come from, the last of
 * which is preferred.
 */
const RELEASES = { sid: ['sid'], backports: ['trixie', 'trixie-backports'] };

/** @typedef {{ loader: string, libraries: string, driver: string }} UnpackedMesa */

/**
 * The software Vulkan driver of a newer Debian, unpacked into a folder together with the libraries that it needs, so that
 * nothing of the machine is touched: no root is needed, only apt.
 *
 * @param {keyof typeof RELEASES} release
 * @returns {Promise<UnpackedMesa>} `loader --library-path libraries PROGRAM` runs a program on these libraries, and
 *   `driver` is the file to name to the Vulkan loader
 */
export async function ensureMesa(release) {
  const folder = resolve(`node_modules/.cache/pageflash/mesa-${release}`);
  if (!existsSync(folder)) await install(release, folder);
  const libraries = libraryFolder(folder);
  const loader = readdirSync(libraries).find((name) => /^ld-linux.*\.so\.\d$/.test(name));
  if (!loader) throw new Error(`${libraries} has no loader of programs: delete ${folder} and try again.`);
  return { loader: `${libraries}/${loader}`, libraries, driver: `${folder}/lvp_icd.json` };
}

/**
 * @param {keyof typeof RELEASES} release
 * @param {string} final
 */
async function install(release, final) {
  const suites = RELEASES[release];
  console.log(`Unpacking the Mesa of Debian ${suites.at(-1)} …`);
  const folder = `${final}.part`;
  rmSync(folder, { recursive: true, force: true });
  for (const path of ['state/lists/partial', 'cache/archives/partial', 'usr'])
    mkdirSync(`${folder}/${path}`, { recursive: true });
  writeFileSync(`${folder}/sources.list`, suites.map((suite) => `${debianSource(suite)}\n`).join(''));
  // An apt that knows of nothing installed downloads everything down to the C library.
  writeFileSync(`${folder}/status`, '');
  const options = {
    'Dir::Etc::sourcelist': `${folder}/sources.list`,
    'Dir::Etc::sourceparts': '/dev/null',
    'Dir::Etc::preferences': '/dev/null',
    'Dir::Etc::preferencesparts': '/dev/null',
    'Dir::State': `${folder}/state`,
    'Dir::State::status': `${folder}/status`,
    'Dir::Cache': `${folder}/cache`,
    'APT::Sandbox::User': '',
    'APT::Default-Release': suites.at(-1),
  };
  const given = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  const packages = ['mesa-vulkan-drivers', 'libvulkan1'];
  const apt = ['-qq', '-y', ...given];
  await run('apt-get', [...apt, 'update']);
  await run('apt-get', [...apt, 'install', '--download-only', '--no-install-recommends', ...packages]);
  const archives = `${folder}/cache/archives`;
  for (const file of readdirSync(archives).filter((name) => name.endsWith('.deb')))
    await run('dpkg-deb', ['--extract', `${archives}/${file}`, folder]);
  for (const path of ['state', 'cache']) rmSync(`${folder}/${path}`, { recursive: true });
  const library = `${libraryFolder(folder)}/libvulkan_lvp.so`.replace(folder, final);
  const icd = { file_format_version: '1.0.1', ICD: { api_version: '1.4.0', library_path: library } };
  writeFileSync(`${folder}/lvp_icd.json`, JSON.stringify(icd));
  renameSync(folder, final);
}

/**
 * The line of sources.list for a suite of Debian, at the mirror that the machine already uses.
 *
 * @param {string} suite
 */
function debianSource(suite) {
  const debian = aptSources().find(({ uri }) => /\/debian\/?$/.test(uri));
  if (!debian)
    throw new Error('Unpacking a Mesa of Debian needs apt, and a mirror of Debian among its sources.');
  const options = debian.signedBy ? `[signed-by=${debian.signedBy}] ` : '';
  return `deb ${options}${debian.uri} ${suite} main`;
}

/** @param {string} folder */
function libraryFolder(folder) {
  const triple = readdirSync(`${folder}/usr/lib`).find((name) => name.endsWith('-linux-gnu'));
  return `${folder}/usr/lib/${triple}`;
}
