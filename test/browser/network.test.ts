import { startTcpProxy } from '../helper/tcp-proxy.js'
import { browserTest } from './browser.js'
import { checkWhole, openChat, readJournal } from './chat.js'

browserTest('networks', 40, async (t, { url: direct, visit }) => {
  const proxy = await startTcpProxy(t, direct)
  const { url } = proxy

  await t.test('a connection that is cut is resumed by the page itself', async (t) => {
    const chat = await openChat(await visit(t), url)
    await chat.ask('Tell me of the white whale', 10)
    await chat.button('Cut the connection').click()
    await chat.untilSaid(/^Connection lost/)
    await chat.untilSaid(/^Complete · 1 reconnect$/)
    await checkWhole(t, chat, 'cut')
    t.ok(await chat.count('replayed') > 0)
  })

  await t.test('a browser that goes offline has the rest of the answer when it is back', async (t) => {
    const context = await visit(t)
    const chat = await openChat(context, url)
    await chat.ask('What is natural selection?', 10)
    await context.setOffline(true)
    proxy.cut() // the switch of the browser lets open connections be
    await chat.untilSaid(/^Connection lost/)
    await context.setOffline(false)
    await chat.untilSaid(/^Complete/)
    await checkWhole(t, chat, 'offline')
  })

  await t.test('the browser’s own EventSource resumes with its cursor, and stops at the 204', async (t) => {
    const chat = await openChat(await visit(t), url)
    let received = 0
    await chat.page.exposeFunction('received', () => { if (++received === 20) proxy.cut() })
    await chat.ask('Tell me of the white whale')
    const address = `/api/messages/${new URL(chat.page.url()).hash.slice(1)}/events`
    const seen = await chat.page.evaluate(async (address) => await new Promise<{ ids: string[], data: string[], breaks: number }>((resolve) => {
      const source = new EventSource(address)
      const seen: { ids: string[], data: string[], breaks: number } = { ids: [], data: [], breaks: 0 }
      source.onmessage = ({ data, lastEventId }: MessageEvent<string>) => {
        seen.ids.push(lastEventId)
        seen.data.push(data)
        ;(globalThis as unknown as { received: () => void }).received() // by exposeFunction
      }
      source.onerror = () => {
        if (source.readyState === EventSource.CLOSED) resolve(seen)
        else seen.breaks++
      }
    }), address)
    const journal = await readJournal(chat)
    t.same(seen.ids, journal.map(({ id }) => id), 'every event came once, in order')
    t.same(seen.data.map((text): unknown => JSON.parse(text)), journal.map(({ payload }) => payload))
    t.equal(seen.breaks, 2, 'it reconnected after the cut and after the end, and no more after the 204')
  })
})
