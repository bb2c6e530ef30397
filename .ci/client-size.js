// `node .ci/client-size.js`: what `fastify-message-journal/client` costs a page: all of its exports with the SSE parser, bundled, minified, gzipped.
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

const MAX_BYTES = 6_000

const { outputFiles: [bundle] } = await build({
  entryPoints: ['client/index.ts'], bundle: true, minify: true, format: 'esm', target: 'es2022', write: false, logLevel: 'warning'
})
const bytes = gzipSync(bundle.contents, { level: 9 }).length
console.log(`the client: ${bytes} bytes gzipped, of ${MAX_BYTES} at most (${bundle.contents.length} minified)`)
if (bytes > MAX_BYTES) process.exitCode = 1
