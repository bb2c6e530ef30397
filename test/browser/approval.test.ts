import { browserTest } from './browser.js'
import { checkWhole, openChat, readJournal, textOf } from './chat.js'

browserTest('decisions', 30, async (t, { url, visit }) => {
  await t.test('an answer waits for the person, in both tabs, and goes on where they decide', async (t) => {
    const context = await visit(t)
    const chat = await openChat(context, url)
    await chat.ask('Order me a copy of Moby-Dick')
    const other = await openChat(context, chat.page.url())
    await chat.untilSaid(/^Waits/)
    await other.untilSaid(/^Waits/)
    await chat.page.reload()
    await chat.button('Approve').click()
    await Promise.all([chat, other].map((chat) => chat.untilSaid(/^Complete/)))
    t.match(textOf(await readJournal(chat)), 'You allowed it')
    await checkWhole(t, chat, 'approved')
    await checkWhole(t, other, 'approved in another tab')
    t.equal(await other.button('Approve').count(), 0)
  })

  await t.test('what is denied is not done', async (t) => {
    const chat = await openChat(await visit(t), url)
    await chat.ask('Order me a copy of Moby-Dick')
    await chat.button('Deny').click()
    await chat.untilSaid(/^Complete/)
    t.match(await chat.turn.locator('.answer').innerText(), 'not allow it')
    await checkWhole(t, chat, 'denied')
  })

  await t.test('an answer that waits is found again from its notification', async (t) => {
    const chat = await openChat(await visit(t), url)
    await chat.ask('Order me a copy of Moby-Dick')
    await chat.untilSaid(/^Waits/)
    await chat.button('New conversation').click()
    await chat.page.getByRole('link', { name: 'Show it' }).click()
    await chat.button('Approve').click()
    await chat.turn.getByText('Approved', { exact: true }).waitFor()
    await chat.untilSaid(/^Complete/)
    await checkWhole(t, chat, 'found again')
    t.equal(await chat.page.getByRole('link', { name: 'Show it' }).count(), 0)
  })

  await t.test('an answer can be stopped, and stays so', async (t) => {
    const chat = await openChat(await visit(t), url)
    await chat.ask('Tell me of the white whale', 10)
    await chat.button('Stop').click()
    await chat.untilSaid(/^Stopped/)
    const events = await readJournal(chat)
    t.same(events.at(-1)?.payload, { type: 'end', reason: 'stopped' })
    await checkWhole(t, chat, 'stopped')
    await chat.page.reload()
    await chat.untilSaid(/^Stopped/)
    t.equal((await readJournal(chat)).length, events.length, 'nothing was written afterwards')
  })
})
