import { spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { resolve as resolvePath } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { launch, type Browser } from 'puppeteer';
import { bundleScript, type Script } from '../../tools/browser/bundleScript.js';
import { launchChrome, newPage } from '../../tools/browser/chromePage.js';
import { servePage } from '../../tools/browser/servePage.js';
import { browserEngine, denoEngine, nodeEngine } from './engines.js';
import type { Platform } from './gpuCase.js';
import { LINE_PREFIX, type Program } from './protocol.js';

/** Where the program runs: a process or a page, started anew after each crash. */
export interface Host {
  start(): Promise<RunningProgram>;
  /** A stack trace of the program with the files and lines of the sources. */
  sourceStack(stack: string): string;
}

export interface RunningProgram extends Program {
  /** What runs it, with its version. */
  readonly engine: string;
  /** Fulfilled with the reason once the program answers nothing any more. */
  readonly ended: Promise<string>;
  stop(): Promise<void>;
}

/** A Mesa in a folder: its driver for Vulkan, and how to run a program on the libraries that it needs. */
export interface UnpackedMesa {
  readonly loader: string;
  readonly libraries: string;
  readonly driver: string;
}

/** A browser, and what is to be added to its environment. */
interface InstalledBrowser {
  readonly program: string;
  readonly env: Readonly<Record<string, string>>;
}

/** What `scripts/platforms.mjs` has found or installed. */
export interface Programs {
  readonly deno?: string;
  readonly firefox?: InstalledBrowser;
  /** For Deno, a Mesa that compiles faster than the machine's own; Firefox comes with one. */
  readonly mesa?: UnpackedMesa;
  readonly mesaSid?: UnpackedMesa;
}

const FOLDER = resolvePath('node_modules/.cache/pageflash/platforms');

/** The host of a platform. `mesa` replaces the driver that the machine has for Node. */
export async function createHost(
  platform: Platform,
  programs: Programs = {},
  mesa?: UnpackedMesa,
): Promise<Host> {
  const script = await bundleScript('test/platforms/program.ts');
  const start = await starters[platform](script, programs, mesa);
  return { start, sourceStack: (stack) => script.sourceStack(stack) };
}

type Start = Host['start'];
type Starter = (script: Script, programs: Programs, mesa?: UnpackedMesa) => Promise<Start> | Start;

const starters: Readonly<Record<Platform, Starter>> = {
  node: (script, _, mesa) => nodeStart(script, mesa),
  'mesa-sid': (script, { mesaSid }) => nodeStart(script, needed(mesaSid)),
  chrome: ({ code }) => pageStart(launchChrome, code),
  async deno(script, { deno, mesa }) {
    const engine = await denoEngine(needed(deno));
    const args = ['run', '-A', '--unstable-webgpu', '--v8-flags=--expose-gc', await writeProgram(script)];
    return processStart(commandOn(mesa, needed(deno), args), engine);
  },
  firefox: ({ code }, { firefox }) => pageStart(() => launchFirefox(needed(firefox)), code),
};

function needed<T>(program: T | undefined): T {
  if (!program)
    throw new Error('Start the platforms by `npm run test:platforms`, which installs what they need.');
  return program;
}

async function writeProgram({ code }: Script, name = 'program'): Promise<string> {
  await mkdir(FOLDER, { recursive: true });
  // By the process, since several test files may write at the same time.
  const file = resolvePath(FOLDER, `${name}-${process.pid}.mjs`);
  await writeFile(file, code);
  return file;
}

async function nodeStart(script: Script, mesa: UnpackedMesa | undefined): Promise<Start> {
  const program = await writeProgram(script);
  const gpu = await bundleScript('test/platforms/nodeGpu.ts', { external: ['webgpu'] });
  const nodeGpu = pathToFileURL(await writeProgram(gpu, 'nodeGpu')).href;
  return processStart(nodeCommand(['--expose-gc', '--import', nodeGpu, program], mesa), await nodeEngine());
}

interface Command {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** How to run Node with these arguments on an unpacked Mesa, or on the machine's own driver. */
export function nodeCommand(args: readonly string[], mesa: UnpackedMesa | undefined): Command {
  return commandOn(mesa, process.execPath, args);
}

function commandOn(mesa: UnpackedMesa | undefined, command: string, args: readonly string[]): Command {
  const { env } = process;
  if (!mesa) return { command, args, env };
  const { loader, libraries, driver } = mesa;
  return {
    command: loader,
    args: ['--library-path', libraries, command, ...args],
    env: { ...env, VK_DRIVER_FILES: driver, VK_ICD_FILENAMES: driver },
  };
}

/** The program in a process, which is asked by lines of its input and answers by lines of its output, in turn. */
function processStart({ command, args, env }: Command, engine: string): Start {
  return async () => {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], env });
    const ended = new Promise<string>((resolve) => {
      child.on('error', (error) => resolve(error.message));
      child.on('close', (code, signal) => resolve(`the process ended with ${signal ?? code}`));
    });
    // What is written to a process that has crashed is lost; `ended` tells.
    child.stdin.on('error', () => {});
    const waiting: ((reply: { result?: unknown; error?: string }) => void)[] = [];
    createInterface(child.stdout).on('line', (line) => {
      if (line.startsWith(LINE_PREFIX)) waiting.shift()!(JSON.parse(line.slice(LINE_PREFIX.length)));
      else console.log(line);
    });
    const ask = async (...call: readonly unknown[]): Promise<never> => {
      const replied = new Promise<{ result?: unknown; error?: string }>((resolve) => waiting.push(resolve));
      child.stdin.write(`${JSON.stringify(call)}\n`);
      const { result, error } = await replied;
      if (error) throw new Error(error);
      return result as never;
    };
    return {
      engine,
      ended,
      begin: (options) => ask('begin', options),
      run: (suite, name) => ask('run', suite, name),
      async stop() {
        child.kill('SIGKILL');
        await ended;
      },
    };
  };
}

/** The program in a page of a browser of its own. */
function pageStart(launchBrowser: () => Promise<Browser>, script: string): Start {
  return async () => {
    const server = await servePage(script);
    const browser = await launchBrowser();
    const page = await newPage(browser);
    const ended = new Promise<string>((resolve) => {
      page.on('error', (error) => resolve(`the page crashed: ${error.message}`));
      browser.on('disconnected', () => resolve('the browser closed'));
    });
    await page.goto(server.url, { timeout: 0 });
    return {
      engine: browserEngine(await browser.version()),
      ended,
      begin: (options) => page.evaluate((...args) => globalThis.platformProgram.begin(...args), options),
      run: (suite, name) => page.evaluate((...args) => globalThis.platformProgram.run(...args), suite, name),
      async stop() {
        await browser.close();
        server.close();
      },
    };
  };
}

function launchFirefox({ program, env }: InstalledBrowser): Promise<Browser> {
  return launch({
    browser: 'firefox',
    executablePath: program,
    env: { ...process.env, ...env },
    extraPrefsFirefox: { 'dom.webgpu.enabled': true, 'gfx.webgpu.ignore-blocklist': true },
    protocolTimeout: 0,
  });
}
