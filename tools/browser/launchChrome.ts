import { launch, type Browser } from 'puppeteer';

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
