// `node .ci/smoke.js <address of the demo>`: the page is there, and an answer is streamed to whoever has its cookie.
const [, , address] = process.argv
const signal = AbortSignal.timeout(30_000)

const page = await fetch(address, { signal })
if (page.status !== 200) throw new Error(`the page answered ${page.status}`)
const cookie = page.headers.getSetCookie().map((line) => line.split(';', 1)[0]).join('; ')

const chat = await fetch(new URL('/api/chat', address), {
  method: 'POST',
  headers: { 'content-type': 'application/json', cookie },
  body: JSON.stringify({ prompt: 'the white whale' }),
  signal
})
if (chat.status !== 200) throw new Error(`the chat answered ${chat.status}: ${await chat.text()}`)

let text = ''
for await (const chunk of chat.body.pipeThrough(new TextDecoderStream())) {
  text += chunk
  if (/^data: .*\n/m.test(text)) break
}
if (!/^data: .*\n/m.test(text)) throw new Error(`the stream held no event: ${JSON.stringify(text)}`)
