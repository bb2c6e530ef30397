import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { chromium, type Browser, type BrowserContext } from 'playwright-core'
import { test, type Test } from 'tap'
import { startDemo } from './demo.js'

/** `--no-sandbox`: as root, as in most CI containers, Chromium starts in no other way. The rest keeps it from talking to anybody. */
const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

export interface Visit {
  /** The page's address. */
  url: string
  /** A person with a browser of their own: cookies, storage, tabs. Closed after the test. */
  visit (t: Test): Promise<BrowserContext>
}

/** `null`: there is none on the PATH. */
export function findChromium (): string | null {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    for (const name of ['chromium', 'chromium-browser', 'google-chrome']) {
      try {
        accessSync(join(folder, name), constants.X_OK)
        return join(folder, name)
      } catch {
        // It is elsewhere
      }
    }
  }
  return null
}

export async function launchChromium (executablePath = findChromium()): Promise<Browser> {
  if (executablePath === null) throw new Error('no chromium on the PATH')
  return await chromium.launch({ executablePath, args })
}

/**
 * A test of the demo in a browser, with a demo of its own. Without a Chromium it is skipped, and says so; in CI it then fails.
 * A page that reports an error, its policy's included, fails the test too.
 */
export function browserTest (name: string, tokensPerSecond: number, run: (t: Test, visit: Visit) => Promise<void>): void {
  const skip = findChromium() === null && process.env['CI'] === undefined ? 'no chromium on the PATH' : false
  test(name, { skip }, async (t) => {
    const url = await startDemo(t, tokensPerSecond)
    const browser = await launchChromium()
    t.teardown(() => browser.close())
    await run(t, {
      url,
      async visit (t) {
        const context = await browser.newContext()
        t.teardown(() => context.close())
        context.setDefaultTimeout(60_000)
        await context.grantPermissions(['clipboard-read', 'clipboard-write'])
        context.on('weberror', (error) => { t.fail(`the page threw: ${error.error().message}`) })
        context.on('console', (message) => {
          if (/Content Security Policy/.test(message.text())) t.fail(message.text())
        })
        return context
      }
    })
  })
}
