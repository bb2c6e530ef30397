import type { Page } from 'playwright-core'
import { browserTest } from './browser.js'
import { checkWhole, openChat, readJournal, textOf } from './chat.js'

/** Whether this tab is connected for all of them. */
function untilLeading (page: Page): Promise<unknown> {
  return page.waitForFunction(async () => {
    const { held = [], pending = [] } = await navigator.locks.query()
    return held.length === 1 && pending.length === 0
  })
}

const asFile = (name: string, text: string) => ({ name, mimeType: 'text/plain', buffer: Buffer.from(text) })

browserTest('files', 60, async (t, { url, visit }) => {
  await t.test('a file that is added shows how far it is, in every tab, and answers are found in it', async (t) => {
    const context = await visit(t)
    const [chat, other] = [await openChat(context, url), await openChat(context, url)]
    await chat.page.getByLabel('Text files').setInputFiles(asFile('zebra.txt', 'The quagga of Antananarivo sings at noon.\n\nThen it sleeps.\n'))
    await Promise.all([chat, other].map(async ({ page }) => {
      const toast = page.locator('.toast').filter({ hasText: 'zebra.txt' })
      await toast.getByRole('progressbar').waitFor()
      await toast.getByText(/^Read, \d+ passages?\./).waitFor()
    }))
    await chat.ask('Where does the quagga of Antananarivo sing?')
    await chat.untilSaid(/^Complete/)
    t.match(await chat.turn.locator('.sources').innerText(), 'zebra.txt')
    await checkWhole(t, chat, 'from the file')
  })

  await t.test('a file that is dropped on the page is read too', async (t) => {
    const { page } = await openChat(await visit(t), url)
    const dropped = await page.evaluateHandle(() => {
      const data = new DataTransfer()
      data.items.add(new File(['The okapi hums.'], 'dropped.txt', { type: 'text/plain' }))
      return data
    })
    for (const type of ['dragover', 'drop']) await page.locator('main').dispatchEvent(type, { dataTransfer: dropped })
    await page.locator('.toast').filter({ hasText: 'dropped.txt' }).getByText(/^Read, 1 passage\./).waitFor()
    t.equal(await page.locator('.page.over').count(), 0)
  })

  await t.test('HTML in an answer is shown as text and never runs', async (t) => {
    const chat = await openChat(await visit(t), url)
    const html = 'Xyloquince <script>document.title = "run"</script> <img src=x onerror="document.title = \'run\'"> <b>bold</b> [link](javascript:alert(1))'
    await chat.page.getByLabel('Text files').setInputFiles(asFile('page.html.txt', html))
    await chat.page.getByText(/^Read, \d+ passages?\./).waitFor()
    await chat.ask('xyloquince')
    await chat.untilSaid(/^Complete/)
    const answer = chat.turn.locator('.answer')
    t.match(await answer.innerText(), '<script>document.title')
    t.match(await answer.innerText(), '<b>bold</b>')
    t.equal(await answer.locator('script, img, b, [onerror], a[href^="javascript"]').count(), 0)
    t.equal(await chat.page.title(), 'fastify-message-journal')
    t.match(textOf(await readJournal(chat)), '<script>', 'the journal has what was written')
    await checkWhole(t, chat, 'with HTML')
  })

  await t.test('when the tab that is connected closes, another one takes over', async (t) => {
    const context = await visit(t)
    const leader = await openChat(context, url)
    await untilLeading(leader.page)
    const heir = await openChat(context, url)
    await heir.page.waitForFunction(async () => (await navigator.locks.query()).pending?.length === 1)
    await leader.page.close()
    await untilLeading(heir.page)
    await heir.page.getByLabel('Text files').setInputFiles(asFile('after.txt', 'What comes after the leader.'))
    await heir.page.locator('.toast').filter({ hasText: 'after.txt' }).getByText(/^Read, /).waitFor()
    t.pass('it has the notifications that came afterwards')
  })

  await t.test('a file that is none is refused in words', async (t) => {
    const chat = await openChat(await visit(t), url)
    await chat.page.getByLabel('Text files').setInputFiles({ name: 'noise.txt', mimeType: 'text/plain', buffer: Buffer.from([0xff, 0xfe, 0xfd]) })
    const toast = chat.page.locator('.toast').filter({ hasText: 'noise.txt' })
    await toast.getByText('UTF-8').waitFor()
    await toast.getByRole('button', { name: 'Dismiss: noise.txt' }).click()
    t.equal(await toast.count(), 0)
  })
})
