import { createParser } from 'eventsource-parser'
import type { BrowserContext, Locator, Page } from 'playwright-core'
import type { Test } from 'tap'

/** What a person does on the page, by what they see of it. */
export interface Chat {
  page: Page
  /** The newest answer. */
  turn: Locator
  button (name: string): Locator
  /** Asks, and waits for the first few words. */
  ask (prompt: string, events?: number): Promise<void>
  /** Waits for so many events. */
  untilEvents (count: number): Promise<void>
  /** Waits for the line below the answer to begin so. */
  untilSaid (status: RegExp): Promise<void>
  /** The number beside the word in the legend. */
  count (word: 'live' | 'replayed' | 'repaired' | 'doubled' | 'missing'): Promise<number>
  /** The answer as it was recorded, by its Copy button. */
  copy (): Promise<string>
}

export async function openChat (context: BrowserContext, url: string): Promise<Chat> {
  const page = await context.newPage()
  await page.goto(url)
  return chatOn(page)
}

export function chatOn (page: Page): Chat {
  const turn = page.locator('article.turn').last()
  const chat: Chat = {
    page,
    turn,
    button: (name) => page.getByRole('button', { name, exact: true }),
    async ask (prompt, events = 4) {
      await page.getByLabel('Your question').fill(prompt)
      const before = await page.locator('article.turn').count()
      await page.keyboard.press('Enter')
      await page.locator('article.turn').nth(before).waitFor()
      await chat.untilEvents(events)
    },
    async untilEvents (count) { await turn.locator('.cells .cell').nth(count - 1).waitFor() },
    async untilSaid (status) { await turn.locator('.phase').filter({ hasText: status }).waitFor() },
    async count (word) { return Number(await turn.locator('.legend > span').filter({ hasText: word }).locator('.cell').innerText()) },
    async copy () {
      await page.bringToFront()
      await turn.getByRole('button', { name: 'Copy' }).click()
      await turn.getByRole('button', { name: 'Copied' }).waitFor()
      return await page.evaluate(() => navigator.clipboard.readText())
    }
  }
  return chat
}

export interface JournalEvent {
  id: string | undefined
  payload: Record<string, unknown>
}

/** The replay of the newest answer, as any other client of the same user gets it. */
export async function readJournal ({ page }: Chat): Promise<JournalEvent[]> {
  const messageId = new URL(page.url()).hash.slice(1)
  const response = await page.context().request.get(new URL(`/api/messages/${messageId}/events`, page.url()).href)
  const events: JournalEvent[] = []
  const parser = createParser({
    onEvent ({ id, data }) { events.push({ id, payload: JSON.parse(data) as Record<string, unknown> }) } // the demo records objects
  })
  parser.feed(await response.text())
  return events
}

export function textOf (events: JournalEvent[]): string {
  return events.map(({ payload: { type, answer } }) => type === 'answer' ? String(answer) : '').join('')
}

/** What has to hold at the end of an answer, whatever was done to it. */
export async function checkWhole (t: Test, chat: Chat, name: string): Promise<void> {
  const events = await readJournal(chat)
  t.equal(await chat.copy(), textOf(events), `${name}: the text is the journal's, byte for byte`)
  t.same(events.map(({ id }) => id), events.map((_, n) => String(n)), `${name}: the journal has no hole`)
  const [live, replayed, repaired] = [await chat.count('live'), await chat.count('replayed'), await chat.count('repaired')]
  t.equal(live + replayed + repaired, events.length, `${name}: every event came to the page`)
  t.equal(await chat.count('doubled'), 0, `${name}: none came twice`)
  t.equal(await chat.count('missing'), 0, `${name}: none is missing`)
}
