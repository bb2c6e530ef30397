import { browserTest } from './browser.js'
import { chatOn, checkWhole, openChat } from './chat.js'

browserTest('refreshes and tabs', 50, async (t, { url, visit }) => {
  await t.test('an answer survives a refresh in its middle', async (t) => {
    const chat = await openChat(await visit(t), url)
    await chat.ask('Tell me of the white whale', 10)
    await chat.page.reload()
    await chat.untilEvents(10)
    t.ok(await chat.count('replayed') > 0, 'what was there comes out of the journal')
    await chat.untilSaid(/^Complete/)
    await checkWhole(t, chat, 'refreshed')
  })

  await t.test('a second tab has the same answer from its beginning, and follows it', async (t) => {
    const context = await visit(t)
    const first = await openChat(context, url)
    await first.ask('What is natural selection?')
    const opened = context.waitForEvent('page')
    await first.page.getByRole('link', { name: 'Second tab' }).click()
    const second = chatOn(await opened)
    await Promise.all([first, second].map((chat) => chat.untilSaid(/^Complete/)))
    t.equal(second.page.url(), first.page.url())
    await checkWhole(t, first, 'first tab')
    await checkWhole(t, second, 'second tab')

    await first.ask('Tell me of the white whale')
    await second.page.getByRole('heading', { name: 'Tell me of the white whale' }).waitFor()
    await second.untilSaid(/^Complete/)
    t.pass('what is asked in one tab is answered in both')
  })

  await t.test('somebody else sees nothing of it', async (t) => {
    const owner = await openChat(await visit(t), url)
    await owner.ask('Tell me of the white whale')
    const other = await openChat(await visit(t), owner.page.url())
    await other.untilSaid(/^Failed/)
    t.equal(await other.turn.locator('.cell').count(), 0)
  })
})
