import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import type { AxeResults } from 'axe-core'
import { browserTest } from './browser.js'
import { openChat, type Chat } from './chat.js'

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** What axe finds wrong, by rule and place; contrast and labels among it. */
async function violations ({ page }: Chat): Promise<string[]> {
  await page.evaluate(axe)
  const results = await page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: { run (): Promise<AxeResults> } } // by the line above
    return await axe.run()
  })
  return results.violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')}: ${failureSummary ?? ''}`))
}

/** Nothing is wider than the window. */
function fits ({ page }: Chat): Promise<boolean> {
  return page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth)
}

browserTest('reading and operating the page', 60, async (t, { url, visit }) => {
  for (const colorScheme of ['light', 'dark'] as const) {
    await t.test(`nothing is wrong with it, ${colorScheme}, on a desk and on a phone`, async (t) => {
      const chat = await openChat(await visit(t), url)
      await chat.page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
      t.same(await violations(chat), [], 'before the first question')
      await chat.ask('Tell me of the white whale', 10)
      t.same(await violations(chat), [], 'while it is written')
      await chat.untilSaid(/^Complete/)
      await chat.ask('Order me a copy of Moby-Dick')
      await chat.page.getByLabel('Text files').setInputFiles({ name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('Some notes.') })
      await chat.button('Approve').waitFor()
      await chat.page.getByText('Under the hood').click()
      await chat.page.getByText('answered by').waitFor()
      t.same(await violations(chat), [], 'with everything open')
      await chat.page.setViewportSize({ width: 360, height: 740 })
      t.same(await violations(chat), [], 'on a phone')
      t.ok(await fits(chat))
      await chat.page.setViewportSize({ width: 320, height: 640 })
      t.ok(await fits(chat), 'on the smallest one')
    })
  }

  await t.test('everything can be done from the keyboard', async (t) => {
    const { page, button, turn, untilSaid } = await openChat(await visit(t), url)
    await page.getByLabel('Your question').waitFor()
    for (let presses = 0; presses < 20 && !await button('Order me a copy of Moby-Dick').evaluate((element) => element === document.activeElement); presses++) {
      await page.keyboard.press('Tab')
    }
    await page.keyboard.press('Enter')
    await button('Approve').waitFor()
    await untilSaid(/^Waits/)
    t.equal(await page.evaluate(() => document.activeElement?.id), 'prompt', 'the next question can be typed at once')
    await button('Approve').focus()
    await page.keyboard.press('Space')
    await untilSaid(/^Complete/)
    t.match(await turn.locator('.answer').innerText(), 'You allowed it')
  })
})
