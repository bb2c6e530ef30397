import { test } from 'tap'
import { createPassageAnswerer, createPassageFinder, loadPassages, tokensOf, type Clock } from '../demo/answers/passages.js'

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
  ] as const) t.match(find(prompt).source, source, prompt)
})

test('a prompt that matches nothing gets some passage, and always the same', async (t) => {
  const find = await loadFinder()
  for (const prompt of ['', '???', 'zzyzx', '漢字', 'the of and']) {
    t.ok(find(prompt).text)
    t.equal(find(prompt), find(prompt))
  }
  t.ok(new Set(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].map((letter) => find(`zzyz${letter}`).source)).size > 1, 'another prompt may get another one')
})

test('joined tokens are the text, whatever the text', async (t) => {
  for (const text of ['', ' ', 'one', 'Call me Ishmael.\n\nSome years ago—never ', '  incomprehensibilities ', '😀😀😀😀😀😀😀😀😀😀', '漢字 漢字']) {
    t.equal(tokensOf(text).join(''), text)
  }
  t.same(tokensOf('Call me incomprehensible'), ['Call', ' me', ' incompre', 'hensible'])
  t.equal(tokensOf('😀'.repeat(20)).find((token) => /\p{Cs}/u.test(token)), undefined, 'no emoji is cut')
})

test('an answer is the passage and its source', async (t) => {
  const answer = await createPassageAnswerer(1000)
  const text = (await collect(answer('Call me Ishmael', neverAborted))).join('')
  t.match(text, /^Call me Ishmael\. Some years ago/)
  t.match(text, /\n\n— Herman Melville, Moby-Dick, chapter 1 \(1851\)$/)
})

test('tokens keep the pace by the clock: the time a reader takes is not added', async (t) => {
  const clock = createClock()
  const answer = await createPassageAnswerer(40, clock)
  let tokens = 0
  for await (const token of answer('Call me Ishmael', neverAborted)) {
    if (token !== '') tokens++
    if (tokens === 3) clock.advance(10)
    if (tokens === 5) clock.advance(60)
  }
  t.same(clock.waits.slice(0, 6), [25, 25, 15, 25, 15, 25], 'a lag of 60 ms costs two waits and shortens a third')
  t.equal(clock.now(), 1000 + (tokens - 1) * 25)
})

test('an answer ends early and without an error when its signal aborts', async (t) => {
  const controller = new AbortController()
  const answer = await createPassageAnswerer(0.001)
  const seen: string[] = []
  for await (const token of answer('Call me Ishmael', controller.signal)) {
    seen.push(token)
    setImmediate(() => controller.abort())
  }
  t.same(seen, ['Call'], 'the wait of 1,000 s for the second token was cut')

  const already = await createPassageAnswerer(1000)
  t.same(await collect(already('Call me Ishmael', AbortSignal.abort())), [])
})

test('a clock that fails is an error, not the end of the answer', async (t) => {
  const clock = { ...createClock(), wait: async () => { throw new Error('stopped clock') } }
  const answer = await createPassageAnswerer(40, clock)
  await t.rejects(collect(answer('Call me Ishmael', neverAborted)), { message: 'stopped clock' })
})
