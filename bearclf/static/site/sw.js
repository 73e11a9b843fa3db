// Keeps the page's own files, so that it opens without a network after the first visit. It sees no picture: those never
// are a request.
importScripts('files.js') // FILES, VERSION, POLICY: written when the site is built

const OURS = `bearclf ${registration.scope} `, CACHE = OURS + VERSION

addEventListener('install', e => {
  skipWaiting()
  e.waitUntil(caches.open(CACHE).then(cache => cache.addAll(FILES)))
})

// The files of the version before stay, for a page that was opened with them.
addEventListener('activate', e => e.waitUntil((async () => {
  const older = (await caches.keys()).filter(name => name.startsWith(OURS) && name !== CACHE)
  for (const name of older.slice(0, -1)) await caches.delete(name)
  await clients.claim()
})()))

// From the cache; what is not there, such as the decoder of HEIC, is fetched and kept. What is gone may be among the
// files of the version before.
async function answer(request) {
  const cache = await caches.open(CACHE), kept = await cache.match(request, {ignoreSearch: true})
  if (kept) return guarded(kept)
  const fresh = await fetch(request).catch(() => null)
  if (fresh?.status === 200) await cache.put(request, fresh.clone())
  const found = fresh?.ok ? fresh : await caches.match(request) ?? fresh
  return found ? guarded(found) : Response.error()
}

// The worker's own requests stand under the policy of its file, not under that of the page: so every file says it. And
// what opens no other site's window and shows no other site's file may compute by several threads.
function guarded(response) {
  const headers = new Headers(response.headers)
  headers.set('Content-Security-Policy', POLICY)
  headers.set('Cross-Origin-Opener-Policy', 'same-origin')
  headers.set('Cross-Origin-Embedder-Policy', 'require-corp')
  return new Response(response.body, {status: response.status, statusText: response.statusText, headers})
}

addEventListener('fetch', e => {
  if (e.request.method === 'GET' && e.request.url.startsWith(registration.scope)) e.respondWith(answer(e.request))
})
