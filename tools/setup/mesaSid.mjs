import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { aptSources } from './backports.mjs';

const run = promisify(execFile);

const FOLDER = resolve('node_modules/.cache/pageflash/mesa-sid');

/**
 * The software Vulkan driver of Debian sid, whose Mesa is newer than any release's. It needs the libraries of sid, too,
 * so all of them are unpacked into a folder and nothing of the machine is touched: no root is needed, only apt.
 *
 * @returns {Promise<{ loader: string, libraries: string, driver: string }>} `loader --library-path libraries PROGRAM`
 *   runs a program on these libraries, and `driver` is what to name to the Vulkan loader
 */
export async function ensureMesaSid() {
  if (!existsSync(FOLDER)) await install();
  const libraries = libraryFolder(FOLDER);
  const loader = readdirSync(libraries).find((name) => /^ld-linux.*\.so\.\d$/.test(name));
  if (!loader) throw new Error(`${libraries} has no loader of programs: delete ${FOLDER} and try again.`);
  return { loader: `${libraries}/${loader}`, libraries, driver: `${FOLDER}/lvp_icd.json` };
}

async function install() {
  console.log('Unpacking the Mesa of Debian sid …');
  const folder = `${FOLDER}.part`;
  rmSync(folder, { recursive: true, force: true });
  for (const path of ['state/lists/partial', 'cache/archives/partial', 'usr'])
    mkdirSync(`${folder}/${path}`, { recursive: true });
  writeFileSync(`${folder}/sources.list`, `${sidSource()}\n`);
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
  const library = `${libraryFolder(folder)}/libvulkan_lvp.so`.replace(folder, FOLDER);
  const icd = { file_format_version: '1.0.1', ICD: { api_version: '1.4.0', library_path: library } };
  writeFileSync(`${folder}/lvp_icd.json`, JSON.stringify(icd));
  renameSync(folder, FOLDER);
}

/** The line of sources.list for sid, at the mirror that the machine already uses. */
function sidSource() {
  const debian = aptSources().find(({ uri }) => /\/debian\/?$/.test(uri));
  if (!debian) throw new Error('The Mesa of Debian sid needs apt and a mirror of Debian among its sources.');
  const options = debian.signedBy ? `[signed-by=${debian.signedBy}] ` : '';
  return `deb ${options}${debian.uri} sid main`;
}

/** @param {string} folder */
function libraryFolder(folder) {
  const triple = readdirSync(`${folder}/usr/lib`).find((name) => name.endsWith('-linux-gnu'));
  return `${folder}/usr/lib/${triple}`;
}
