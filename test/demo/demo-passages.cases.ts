import { test } from 'tap'
import type { Step } from '../../demo/answers/step.js'
import { pace, type Clock } from '../../demo/answers/pace.js'
import { createPassageAnswerer, createPassageFinder, loadPassages, tokensOf } from '../../demo/answers/passages.js'

/** A clock that stands still except while somebody waits, and keeps a list of the waits. */
function createClock (): Clock & { waits: number[], advance: (ms: number) => void } {
  let time = 1000
  const waits: number[] = []
  return {
    waits,
    now: () => time,
    wait: async (ms, signal) => {
      signal.throwIfAborted()
      waits.push(ms)
      time += ms
    },
    advance: (ms) => { time += ms }
  }
}

const loadFinder = async () => createPassageFinder(await loadPassages())

const neverAborted = new AbortController().signal

async function collect (tokens: AsyncIterable<string>): Promise<string[]> {
  const collected = []
  for await (const token of tokens) collected.push(token)
  return collected
}

test('every bundled passage has a source with its year and 80 to 200 words', async (t) => {
  const passages = await loadPassages()
  t.ok(passages.length >= 30, `${passages.length} passages`)
  t.equal(new Set(passages.map(({ source }) => source)).size, passages.length, 'no source twice')
  for (const { source, text } of passages) {
    t.match(source, /\(\d{4}\)$/)
    const words = text.split(/\s+/).length
    t.ok(words >= 80 && words <= 200, `${source}: ${words} words`)
  }
})

test('a prompt gets the passage that matches it best', async (t) => {
  const find = await loadFinder()
  for (const [prompt, source] of [
    ['What is natural selection?', /Origin of Species, chapter IV/],
    ['tell me about the WHITE WHALE', /Moby-Dick, chapter 36/],
    ['How are pins made in a manufactory?', /Wealth of Nations, book I, chapter I /],
    ['Who is Sherlock Holmes?', /Scandal in Bohemia/],
    ['a monster on a dreary night', /Frankenstein/],
    ['Can a computer, like the analytical engine, think?', /Ada Lovelace/],
    ['I went to the woods', /Walden/],
    ['If men were angels, would they need a government?', /Federalist, No. 51/],
    ['two roads', /Frost/],
    ['What is a fourth dimension?', /Time Machine/],
    ['something by Jane Austen', /Pride and Prejudice/]
  ] as const) t.match(find(prompt)[0]?.source, source, prompt)
})

test('a prompt that matches nothing gets some passage, and always the same', async (t) => {
  const find = await loadFinder()
  for (const prompt of ['', '???', 'zzyzx', '漢字', 'the of and']) {
    t.equal(find(prompt).length, 1)
    t.same(find(prompt), find(prompt))
  }
  t.ok(new Set(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].map((letter) => find(`zzyz${letter}`)[0]?.source)).size > 1, 'another prompt may get another one')
})

test('joined tokens are the text, whatever the text', async (t) => {
  for (const text of ['', ' ', 'one', 'Call me Ishmael.\n\nSome years ago—never ', '  incomprehensibilities ', '😀😀😀😀😀😀😀😀😀😀', '漢字 漢字']) {
    t.equal(tokensOf(text).join(''), text)
  }
  t.same(tokensOf('Call me incomprehensible'), ['Call', ' me', ' incompre', 'hensible'])
  t.equal(tokensOf('😀'.repeat(20)).find((token) => /\p{Cs}/u.test(token)), undefined, 'no emoji is cut')
})

test('others that match follow the best one, and those that hardly do not', async (t) => {
  const find = await loadFinder()
  t.same(find('alice and the white rabbit').slice(1).map(({ source }) => /^Lewis Carroll/.test(source)), [true, true])
  t.ok(find('the monster of Frankenstein').length < 3)
})

const textOf = (steps: Step[]): string => steps.map((step) => step.type === 'answer' ? step.answer : '').join('')

const sourcesOf = (steps: Step[]): string[] => steps.flatMap((step) => step.type === 'source' ? [step.source] : [])

test('an answer is passages, each with its work before and its source behind it', async (t) => {
  const { plan } = await createPassageAnswerer('books')
  const steps = plan('Call me Ishmael', [])
  t.match(textOf(steps), /^From \*\*Moby-Dick\*\* by Herman Melville:\n\nCall me Ishmael\. Some years ago/)
  t.equal(sourcesOf(steps)[0], 'Herman Melville, Moby-Dick, chapter 1 (1851)')
  t.equal(steps.at(-1)?.type, 'source')
  t.same(plan('Call me Ishmael', []), steps, 'whoever makes it')
  t.match(textOf(plan('We hold these truths, the Declaration of Independence', [])), /^From \*\*The Declaration of Independence\*\*:\n\n/)
})

test('a passage of the user\'s own answers when it matches better, and else it does not', async (t) => {
  const { plan } = await createPassageAnswerer('books')
  const own = [{ source: 'penguins.md (passage 1)', text: 'Penguins eat krill. They do not eat pins.' }]
  const steps = plan('What do penguins eat?', own)
  t.equal(sourcesOf(steps)[0], 'penguins.md (passage 1)')
  t.match(textOf(steps), /^From \*\*penguins\.md\*\*:/)
  t.match(sourcesOf(plan('How are pins made in a manufactory?', own))[0], /Wealth of Nations/)
})

test('items keep the pace by the clock: the time a reader takes is not added', async (t) => {
  const clock = createClock()
  let items = 0
  for await (const item of pace(['', ...Array(99).keys()], 40, neverAborted, clock)) {
    if (item !== '') items++
    if (items === 3) clock.advance(10)
    if (items === 5) clock.advance(60)
  }
  t.same(clock.waits.slice(0, 7), [25, 25, 25, 15, 25, 15, 25], 'a lag of 60 ms costs two waits and shortens a third')
  t.equal(clock.now(), 1000 + items * 25)
})

test('the pace ends early and without an error when its signal aborts', async (t) => {
  const controller = new AbortController()
  const seen: string[] = []
  for await (const item of pace(['one', 'two'], 0.001, controller.signal)) {
    seen.push(item)
    setImmediate(() => controller.abort())
  }
  t.same(seen, ['one'], 'the wait of 1,000 s for the second one was cut')
  t.same(await collect(pace(['one'], 1000, AbortSignal.abort())), [])
})

test('a clock that fails is an error, not the end', async (t) => {
  const clock = { ...createClock(), wait: async () => { throw new Error('stopped clock') } }
  await t.rejects(collect(pace(['one', 'two'], 40, neverAborted, clock)), { message: 'stopped clock' })
})
