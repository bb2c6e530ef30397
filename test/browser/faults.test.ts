import { browserTest } from './browser.js'
import { checkWhole, openChat } from './chat.js'

browserTest('servers', 15, async (t, { url, visit }) => {
  await t.test('an answer goes on when the process that writes it is killed', async (t) => {
    const chat = await openChat(await visit(t), url)
    await chat.ask('Tell me of the white whale', 10)
    await chat.button('Kill the server').click()
    await chat.turn.getByText(/^The server process \d+ was killed$/).waitFor()
    await chat.untilSaid(/^Complete/)
    await checkWhole(t, chat, 'killed')
    t.match(await chat.turn.locator('.sources').innerText(), 'Moby-Dick', 'it was written to its end')
  })

  await t.test('an answer goes on while Redis is away, and when it is back', async (t) => {
    const context = await visit(t)
    const chat = await openChat(context, url)
    await chat.ask('What is natural selection?', 10)
    const other = await openChat(context, chat.page.url())
    await chat.button('Stop Redis').click()
    await chat.turn.locator('.cells .repaired').first().waitFor()
    await chat.button('Start Redis').click()
    await chat.button('Stop Redis').waitFor()
    await Promise.all([chat, other].map((chat) => chat.untilSaid(/^Complete/)))
    await checkWhole(t, chat, 'without Redis')
    await checkWhole(t, other, 'without Redis, in a second tab')
  })
})
