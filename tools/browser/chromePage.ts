import { launch, type Browser, type Page } from 'puppeteer';
import { bundleScript, type BundleOptions } from './bundleScript.js';
import { servePage, type PageOptions } from './servePage.js';

export interface ChromePage {
  readonly page: Page;
  /** A stack trace of the page with the files and lines of the sources. */
  sourceStack(stack: string): string;
  close(): Promise<void>;
}

export interface ChromePageOptions extends Pick<PageOptions, 'folders'>, Pick<BundleOptions, 'alias'> {
  /** Takes what the script logs. */
  readonly print?: (line: string) => void;
}

/** Bundles a TypeScript entry into one script and opens a page with it in headless Chrome. */
export async function openChromePage(
  entry: string,
  { alias = {}, print = () => {}, ...options }: ChromePageOptions = {},
): Promise<ChromePage> {
  const { code, sourceStack } = await bundleScript(entry, { alias });
  const server = await servePage(code, options);
  const browser = await launchChrome();
  const page = await newPage(browser);
  page.on('console', (message) => {
    if (message.type() === 'log') print(message.text());
  });
  await page.goto(server.url);
  return {
    page,
    sourceStack,
    async close() {
      await browser.close();
      server.close();
    },
  };
}

// Takes the machine's GPU, which Linux reaches through Vulkan only, or SwiftShader where there is none.
const GPU_FLAGS = [
  '--enable-unsafe-webgpu',
  '--enable-unsafe-swiftshader',
  ...(process.platform === 'linux' ? ['--enable-features=Vulkan'] : []),
];

const QUIET_FLAGS = [
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-quic',
  '--no-first-run',
];

/** Headless Chrome with WebGPU, the one that `ensureChrome` found or installed. */
export function launchChrome(): Promise<Browser> {
  // Puppeteer reads the variable when it is loaded, which may have been before the installation.
  const executablePath = process.env['PUPPETEER_EXECUTABLE_PATH'];
  return launch({
    ...(executablePath && { executablePath }),
    args: ['--no-sandbox', ...GPU_FLAGS, ...QUIET_FLAGS],
    // A call into the page may take as long as a GPU that the CPU plays.
    protocolTimeout: 0,
  });
}

/** An empty page, whose errors are printed. */
export async function newPage(browser: Browser): Promise<Page> {
  const page = await browser.newPage();
  page.on('console', (message) => {
    if (message.type() === 'error') console.error(message.text());
  });
  page.on('pageerror', (error) => console.error(error));
  return page;
}
