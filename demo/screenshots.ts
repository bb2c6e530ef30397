/**
 * `npm run screenshots`: the page in the middle of an answer whose connection was cut, in both schemes, wide and on a
 * phone, as docs/demo-*.png. The README shows the first and the last.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Browser } from 'playwright-core'
import { readConfig } from './config.js'
import { runDemo } from './run.js'
import { launchChromium } from './chromium.js'

const scenes = [
  { name: 'demo-light', colorScheme: 'light', viewport: { width: 1024, height: 800 } },
  { name: 'demo-light-phone', colorScheme: 'light', viewport: { width: 360, height: 720 } },
  { name: 'demo-dark-wide', colorScheme: 'dark', viewport: { width: 1024, height: 800 } },
  { name: 'demo-dark', colorScheme: 'dark', viewport: { width: 360, height: 720 } }
] as const

const folder = fileURLToPath(new URL('../docs/', import.meta.url))
const eventsBeforeCut = 12
const eventsAfterwards = 6

async function shoot (browser: Browser, url: string, { name, ...look }: typeof scenes[number]): Promise<void> {
  const context = await browser.newContext(look)
  const page = await context.newPage()
  await page.goto(url)
  await page.getByRole('button', { name: 'Tell me of the white whale' }).click()
  await page.locator('.cells .cell').nth(eventsBeforeCut - 1).waitFor()
  await page.getByRole('button', { name: 'Cut the connection' }).click()
  await page.locator('.cells .replayed ~ .live').nth(eventsAfterwards - 1).waitFor()
  await page.screenshot({ path: join(folder, `${name}.png`) })
  await context.close()
}

const dataDir = await mkdtemp(join(tmpdir(), 'journal-screenshots-'))
try {
  await mkdir(folder, { recursive: true })
  const demo = await runDemo({ ...readConfig({ ...process.env, DEMO_DATA_DIR: dataDir, TOKENS_PER_SECOND: '15' }), port: 0 }, () => {})
  const browser = await launchChromium()
  try {
    for (const scene of scenes) await shoot(browser, demo.url, scene)
  } finally {
    await browser.close()
    await demo.close()
  }
} finally {
  await rm(dataDir, { recursive: true, force: true })
}
