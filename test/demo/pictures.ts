import { mkdir } from 'node:fs/promises';
import type { Page } from 'puppeteer';

/** Where pictures of the page go, to be looked at. */
export const PICTURES = '.cache/demo';

const SIZES = {
  phone: { width: 390, height: 844 },
  desk: { width: 1440, height: 900 },
} as const;
const SCHEMES = ['light', 'dark'] as const;

/** Takes pictures of the page as it is, on each screen and in each scheme: `.cache/demo/NAME-phone-dark.png`. */
export async function takePictures(page: Page, name: string): Promise<void> {
  await mkdir(PICTURES, { recursive: true });
  for (const [screen, size] of Object.entries(SIZES)) {
    await page.setViewport(size);
    for (const scheme of SCHEMES) {
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
      // A phone's page is longer than its screen.
      const fullPage = screen === 'phone';
      await page.screenshot({ path: `${PICTURES}/${name}-${screen}-${scheme}.png`, fullPage });
    }
  }
  await page.emulateMediaFeatures([]);
}
