import type { BrowserContext } from 'playwright-core'
import { test, type Test } from 'tap'
import { findChromium, launchChromium } from '../../demo/chromium.js'
import { startDemo } from './demo.js'

export interface Visit {
  /** The page's address. */
  url: string
  /** A person with a browser of their own: cookies, storage, tabs. Closed after the test. */
  visit (t: Test): Promise<BrowserContext>
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
