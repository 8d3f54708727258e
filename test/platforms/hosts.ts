import { mkdir, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { launch } from 'puppeteer';
import type { Lane } from './gpuCase.js';
import { bundleScript, type Script } from '../../tools/browser/bundleScript.js';
import { launchChrome } from '../../tools/browser/launchChrome.js';
import type { Host } from './host.js';
import { pageHost } from './pageHost.js';
import { processHost } from './processHost.js';

/** What `scripts/lanes.mjs` has found or installed. */
export interface Programs {
  readonly deno?: string;
  readonly firefox?: string;
  /** The Vulkan driver of Debian sid, and how to run a program on the libraries that it needs. */
  readonly mesaSid?: { readonly loader: string; readonly libraries: string; readonly driver: string };
}

const FOLDER = resolve('node_modules/.cache/pageflash/lanes');

export interface Hosts {
  readonly script: Script;
  of(lane: Lane): Host;
}

/** Bundle the program of the lanes, and tell where each runs it. */
export async function createHosts(programs: Programs): Promise<Hosts> {
  const script = await bundleScript('test/platforms/page.ts');
  const program = resolve(FOLDER, 'page.mjs');
  await mkdir(FOLDER, { recursive: true });
  await writeFile(program, script.code);
  const nodeGpu = pathToFileURL(resolve(FOLDER, 'nodeGpu.mjs')).href;
  const nodeArgs = ['--expose-gc', '--import', nodeGpu, program];
  const denoArgs = ['run', '-A', '--unstable-webgpu', '--v8-flags=--expose-gc', program];
  const hosts: Readonly<Record<Lane, () => Host>> = {
    node: () => processHost({ command: process.execPath, args: nodeArgs }),
    'mesa-sid': () => {
      const { loader, libraries, driver } = needed(programs.mesaSid);
      const args = ['--library-path', libraries, process.execPath, ...nodeArgs];
      return processHost({
        command: loader,
        args,
        env: { VK_DRIVER_FILES: driver, VK_ICD_FILENAMES: driver },
      });
    },
    chrome: () => pageHost(launchChrome, script.code),
    deno: () => processHost({ command: needed(programs.deno), args: denoArgs }),
    firefox: () => pageHost(() => launchFirefox(needed(programs.firefox)), script.code),
  };
  return { script, of: (lane) => hosts[lane]() };
}

function needed<T>(program: T | undefined): T {
  if (!program) throw new Error('Start the lanes by `npm run test:lanes`, which installs what they need.');
  return program;
}

function launchFirefox(executablePath: string) {
  return launch({
    browser: 'firefox',
    executablePath,
    extraPrefsFirefox: { 'dom.webgpu.enabled': true, 'gfx.webgpu.ignore-blocklist': true },
    protocolTimeout: 0,
  });
}
