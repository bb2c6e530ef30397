import { fileURLToPath } from 'node:url'
import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

/** The page, from demo/page/ to demo/dist/. Nothing in it needs more than `script-src 'self'; style-src 'self'`. */
export default defineConfig({
  root: fileURLToPath(new URL('./page', import.meta.url)),
  plugins: [react()],
  build: {
    outDir: fileURLToPath(new URL('./dist', import.meta.url)),
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: false
  },
  // `npx vite demo/page --config demo/vite.config.ts`, beside a running `npm start`
  server: { proxy: { '/api': 'http://127.0.0.1:3000' } }
})
