import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { aptInstall, canUseApt, readOsRelease } from './apt.mjs';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome'];

const APPLICATIONS = {
  darwin: [
    '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
    '/Applications/Chromium.app/Contents/MacOS/Chromium',
  ],
  win32: ['PROGRAMFILES', 'PROGRAMFILES(X86)', 'LOCALAPPDATA'].flatMap((folder) => {
    const base = process.env[folder];
    return base ? [join(base, 'Google/Chrome/Application/chrome.exe')] : [];
  }),
};

/**
 * The path of a Chrome or Chromium, installed first if there is none. Puppeteer uses it from then on in this process
 * and its children.
 *
 * @returns {Promise<string>}
 */
export async function ensureChrome() {
  const path = (await findChrome()) ?? (await installChrome());
  if (!path) {
    throw new Error(
      'No Chrome was found and none could be installed: install one, or set CHROME_PATH to its program.',
    );
  }
  process.env.PUPPETEER_EXECUTABLE_PATH = path;
  return path;
}

/** @returns {Promise<string | undefined>} */
async function findChrome() {
  const { CHROME_PATH, PUPPETEER_EXECUTABLE_PATH, PATH = '' } = process.env;
  const chosen = CHROME_PATH ?? PUPPETEER_EXECUTABLE_PATH;
  if (chosen) return chosen;
  const applications =
    process.platform in APPLICATIONS ? APPLICATIONS[/** @type {'darwin'} */ (process.platform)] : [];
  const onPath = PATH.split(delimiter).flatMap((dir) => NAMES.map((name) => join(dir, name)));
  return [...applications, ...onPath].find(isProgram) ?? (await findPuppeteersChrome());
}

/** @param {string} path */
function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

async function findPuppeteersChrome() {
  const { default: puppeteer } = await import('puppeteer');
  const path = await puppeteer.executablePath();
  return isProgram(path) ? path : undefined;
}

/** @returns {Promise<string | undefined>} */
async function installChrome() {
  const { ID, ID_LIKE = '' } = readOsRelease();
  const isUbuntu = [ID, ...ID_LIKE.split(' ')].includes('ubuntu');
  // Ubuntu's package of that name only points at a snap.
  if (canUseApt() && !isUbuntu) {
    await aptInstall({ name: 'Chromium', packages: ['chromium'] });
  } else {
    await downloadChrome();
  }
  return findChrome();
}

async function downloadChrome() {
  console.log('Downloading Chrome with puppeteer …');
  const withLibraries = canUseApt() ? ['--install-deps'] : [];
  const command = ['puppeteer', 'browsers', 'install', 'chrome', ...withLibraries];
  try {
    await promisify(execFile)('npx', command, { shell: process.platform === 'win32' });
  } catch (error) {
    throw new Error(`No Chrome was found, and "npx ${command.join(' ')}" failed: ${error}`, { cause: error });
  }
}

const FIREFOX_NAMES = ['firefox-esr', 'firefox'];
const FIREFOX_APPLICATIONS = ['/Applications/Firefox.app/Contents/MacOS/firefox'];

/**
 * The path of a Firefox, installed first if there is none.
 *
 * @returns {Promise<string>}
 */
export async function ensureFirefox() {
  if (!findFirefox() && canUseApt()) await aptInstall({ name: 'Firefox', packages: ['firefox-esr'] });
  const path = findFirefox();
  if (!path) throw new Error('No Firefox was found and none could be installed: install one.');
  return path;
}

/** @returns {string | undefined} */
function findFirefox() {
  const { PATH = '' } = process.env;
  const onPath = PATH.split(delimiter).flatMap((dir) => FIREFOX_NAMES.map((name) => join(dir, name)));
  return [...onPath, ...FIREFOX_APPLICATIONS].find(isProgram);
}

/** The global setup of the tests in Chrome. */
export async function setup() {
  await ensureChrome();
}
