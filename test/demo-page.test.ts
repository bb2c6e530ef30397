import { test } from 'tap'
import { cookieOf, live, startDemo } from './helper/demo.js'

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
