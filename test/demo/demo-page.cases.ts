import { utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { buildPage } from '../../demo/page-build.js'
import { cookieOf, live, startDemo } from '../helper/demo.js'

const answerer = live(async function * () {})

const csp = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

test('the built page is served with its assets, and nothing else can run in it', async (t) => {
  const pageFolder = t.testdir({
    'index.html': '<!doctype html><title>built</title>',
    'icon.svg': '<svg/>',
    assets: { 'page-abc123.js': 'export {}', 'page-abc123.css': 'a {}' }
  })
  const { url } = await startDemo(t, { answerer, pageFolder })
  for (const [path, type, caching] of [
    ['/', 'text/html', 'no-cache'],
    ['/icon.svg', 'image/svg+xml', 'no-cache'],
    ['/assets/page-abc123.js', 'application/javascript', 'public, max-age=31536000, immutable'],
    ['/assets/page-abc123.css', 'text/css', 'public, max-age=31536000, immutable']
  ] as const) {
    const response = await fetch(url + path)
    t.equal(response.status, 200, path)
    t.match(response.headers.get('content-type'), type)
    t.equal(response.headers.get('cache-control'), caching)
    t.equal(response.headers.get('content-security-policy'), csp)
    t.equal(response.headers.get('x-content-type-options'), 'nosniff')
    t.equal(response.headers.getSetCookie().length, path === '/' ? 1 : 0)
    await response.text()
  }
  for (const path of ['/index.html', '/assets/', '/assets/none.js', '/assets/..%2f..%2fpackage.json', '/package.json']) {
    t.equal((await fetch(url + path)).status, 404, path)
  }
})

test('without a built page a placeholder says so, and gives a session all the same', async (t) => {
  const { url } = await startDemo(t, { answerer })
  const response = await fetch(`${url}/`)
  t.equal(response.status, 200)
  t.match(await response.text(), /<title>fastify-message-journal<\/title>[^]*not built/)
  t.match(cookieOf(response), /^journal_demo_session=/)
  t.equal(response.headers.get('content-security-policy'), csp)
})

test('the page is built when it is missing or older than its sources, and else left alone', async (t) => {
  const folder = join(t.testdir(), 'dist')
  const lines: string[] = []
  const build = async () => await buildPage((line) => { lines.push(line) }, folder)
  await build()
  t.match(lines, [/^Page: {5}built in \d+\.\d s$/])
  const { url } = await startDemo(t, { answerer, pageFolder: folder })
  t.match(await (await fetch(`${url}/`)).text(), /<script type="module"[^>]* src="\/assets\/[^"]+\.js"/)
  await build()
  t.equal(lines.length, 1)
  await utimes(join(folder, 'index.html'), 0, 0)
  await build()
  t.equal(lines.length, 2)
})
