/** What to tell a visitor whose browser cannot run this page, with steps to try. */
export interface Advice {
  readonly title: string;
  readonly text: string;
  readonly steps: readonly string[];
}

/** Advice for a browser without WebGPU; undefined if it has WebGPU. */
export function adviseOnBrowser(): Advice | undefined {
  if (navigator.gpu) return undefined;
  if (!isSecureContext) {
    return {
      title: 'WebGPU is off on this address',
      text: 'Browsers offer WebGPU to secure pages only, and this one came over plain http.',
      steps: ['Open the page over https, or on localhost.'],
    };
  }
  return {
    title: 'This browser has no WebGPU',
    text: 'The page computes on your GPU through WebGPU, which this browser does not have or has switched off.',
    steps: [
      'Chrome or Edge: version 113 or later on Windows, macOS and ChromeOS, 121 on Android. On Linux it may take chrome://flags/#enable-unsafe-webgpu and chrome://flags/#enable-vulkan.',
      'Safari: version 26 or later.',
      'Firefox: version 141 or later on Windows, 145 on Macs with Apple silicon. Elsewhere, set dom.webgpu.enabled in about:config.',
    ],
  };
}

/** Advice for a browser that has WebGPU but gives no device. */
export function adviseOnAdapter(reason: string): Advice {
  return {
    title: 'No GPU was found',
    text: `This browser has WebGPU but gave no GPU to this page. ${reason}`,
    steps: [
      'Install the latest driver of the graphics card, then restart the browser.',
      'Switch on hardware acceleration in the settings of the browser.',
      'Chrome and Edge: chrome://gpu says what is wrong; chrome://flags/#enable-unsafe-webgpu allows cards that are blocked.',
      'Firefox: about:support says what is wrong.',
    ],
  };
}

/** The name of a GPU, as far as the browser gives it. */
export function gpuName(device: GPUDevice): string {
  const info: Partial<GPUAdapterInfo> = device.adapterInfo ?? {};
  const model = info.description || info.device;
  // Most browsers give only the vendor and the architecture.
  const family = [info.vendor, info.architecture].filter(Boolean).join(' ');
  return model || family || 'A GPU that the browser does not name';
}
